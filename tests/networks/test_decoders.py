import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_colorize.networks import (
    DeconvDecoder,
    FeatureInfo,
    PixelShuffleDecoder,
    UpsampleDecoder,
    parameter_count,
)
from lightning_colorize.networks.decoders.deconv import TransposedBlock
from lightning_colorize.networks.decoders.pixel_shuffle import PixelShuffleBlock

INFO = FeatureInfo((8, 12, 20), (2, 4, 8))


def features(height, width):
    return [
        torch.randn(2, c, height // r, width // r)
        for c, r in zip(INFO.channels, INFO.reductions, strict=True)
    ]


def convolutions(decoder):
    return [
        (m.in_channels, m.out_channels)
        for m in decoder.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]


def test_parameters_by_hand():
    def block(a, b):
        return 9 * a * b + 2 * b

    plain = UpsampleDecoder(INFO, widths=[16, 10, 6])
    assert parameter_count(plain)[0] == block(20, 16) + block(16, 10) + block(10, 6)
    skips = UpsampleDecoder(INFO, widths=[16, 10, 6], skips=True)
    assert parameter_count(skips)[0] == block(20 + 12, 16) + block(16 + 8, 10) + block(10, 6)
    deconv = DeconvDecoder(INFO, widths=[16, 10, 6])
    assert parameter_count(deconv)[0] == sum(
        16 * a * b + 2 * b for a, b in [(20, 16), (16, 10), (10, 6)]
    )
    shuffle = PixelShuffleDecoder(INFO, widths=[16, 10, 6])
    assert parameter_count(shuffle)[0] == sum(
        (a + 1) * 4 * b + 2 * b + block(b, b) for a, b in [(20, 16), (16, 10), (10, 6)]
    )


def test_published_vgg16_decoder():
    info = FeatureInfo((64, 128, 256, 512, 512), (2, 4, 8, 16, 32))
    decoder = UpsampleDecoder(
        info,
        bottom=[256, 128],
        widths=[64, 32, 16, 16],
        convs=[1, 1, 1, 0],
        norm="none",
        out_reduction=2,
    )
    assert convolutions(decoder) == [(512, 256), (256, 128), (128, 64), (64, 32), (32, 16)]
    assert tuple(decoder([torch.zeros(1, 512, 7, 7)]).shape) == (1, 16, 112, 112)
    assert decoder.out_channels == 16


@pytest.mark.parametrize("cls", [UpsampleDecoder, DeconvDecoder, PixelShuffleDecoder])
@pytest.mark.parametrize("convs", [0, 2])
@pytest.mark.parametrize("out_reduction", [1, 2, 4])
def test_shape(cls, convs, out_reduction):
    decoder = cls(INFO, convs=convs, skips=True, out_reduction=out_reduction)
    shape = decoder(features(48, 32)).shape
    assert tuple(shape) == (2, decoder.out_channels, 48 // out_reduction, 32 // out_reduction)


def test_skips_are_used_where_they_fit():
    decoder = UpsampleDecoder(INFO, skips=True, out_reduction=4)
    levels = [f.requires_grad_() for f in features(32, 32)]
    decoder(levels).sum().backward()
    assert levels[0].grad is None  # finer than the output
    assert levels[1].grad.any()
    plain = UpsampleDecoder(INFO, skips=False, out_reduction=4)
    levels = [f.requires_grad_() for f in features(32, 32)]
    plain(levels).sum().backward()
    assert levels[1].grad is None


def test_default_widths_halve_down_to_32():
    decoder = UpsampleDecoder(FeatureInfo((2048,), (32,)))
    assert [b for _, b in convolutions(decoder)] == [256, 128, 64, 32, 32]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": [8, 8]}, "widths has 2 numbers; from /8 to /1 there are 3 steps"),
        ({"convs": [1]}, "convs has 1 numbers"),
        ({"out_reduction": 3}, "out_reduction is 3"),
        ({"out_reduction": 8}, "out_reduction is 8"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        UpsampleDecoder(INFO, **arguments)


def test_interpolation_modes():
    for mode in ("nearest", "bilinear"):
        decoder = UpsampleDecoder(INFO, mode=mode, widths=[20], convs=0, out_reduction=4)
        coarse = features(32, 32)
        torch.testing.assert_close(
            decoder(coarse), F.interpolate(coarse[-1], scale_factor=2, mode=mode)
        )


def test_icnr_starts_as_nearest_interpolation():
    torch.manual_seed(0)
    block = PixelShuffleBlock(8, 6, "batch", blur=False)
    y = block(torch.randn(2, 8, 5, 7))
    assert tuple(y.shape) == (2, 6, 10, 14)
    corner = y[..., ::2, ::2]
    for row in (0, 1):
        for column in (0, 1):
            torch.testing.assert_close(y[..., row::2, column::2], corner)
    assert corner.std() > 0.1
    assert (corner[:, 0] - corner[:, 1]).abs().max() > 0.1  # channels do not start alike


def test_blur_averages_with_the_pixels_above_and_left():
    torch.manual_seed(0)
    sharp = PixelShuffleBlock(8, 6, "none", blur=False)
    blurred = PixelShuffleBlock(8, 6, "none", blur=True)
    blurred.load_state_dict(sharp.state_dict())
    x = torch.randn(1, 8, 4, 4)
    y = sharp(x)
    up = torch.cat([y[..., :1, :], y[..., :-1, :]], dim=-2)
    both = y + up
    left = torch.cat([both[..., :1], both[..., :-1]], dim=-1)
    torch.testing.assert_close(blurred(x), (both + left) / 4)


def test_transposed_convolution_keeps_the_signal():
    torch.manual_seed(0)
    y = TransposedBlock(64, 128, "none")(torch.randn(2, 64, 32, 32))[..., 1:-1, 1:-1]
    assert 0.85 < y.square().mean() < 1.15


@pytest.mark.parametrize("decoder", [UpsampleDecoder, DeconvDecoder, PixelShuffleDecoder])
def test_dropout_of_whole_channels_of_the_coarsest_map_in_training(decoder):
    torch.manual_seed(0)
    dropping, seen = decoder(INFO, bottom=[64], channel_dropout=0.25), []
    dropping.steps[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    maps = features(32, 32)
    dropping(maps)
    kept = dropping.bottom(maps[-1])
    whole = torch.isclose(seen[0], kept / 0.75).flatten(2).all(2)
    dropped = (seen[0] == 0).flatten(2).all(2)
    assert (whole | dropped).all()
    assert 0.1 < dropped.float().mean() < 0.4
    dropping.eval()(maps)
    assert torch.equal(seen[1], dropping.bottom(maps[-1]))
