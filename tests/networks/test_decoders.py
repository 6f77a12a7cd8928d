"""Every decoder: its contract, steps, self-attention, gated skips, global context, queries."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_colorize.networks import (
    AbHead,
    ColorizationNetwork,
    ColorQueryDecoder,
    ConvEncoder,
    FeatureInfo,
    UNetDecoder,
    UpsampleDecoder,
    ZhangDecoder,
)
from lightning_colorize.networks.decoders.context import SelfAttention

INFO = FeatureInfo((8, 12, 20), (2, 4, 8))
MODES = ["nearest", "bilinear", "transposed", "pixel_shuffle", "blurred_pixel_shuffle"]
CONTEXT = {"attention": 8, "skips": "gated", "global_context": True}


def levels_of(height, width, info=INFO, batch=2):
    return [
        torch.randn(batch, c, height // r, width // r)
        for c, r in zip(info.channels, info.reductions, strict=True)
    ]


def perturbed(module):
    """Add noise to the parameters, so that what starts at zero acts."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module


# The contract.

SMALL = {"widths": [12, 8], "norm": "group", "out_reduction": 2}
CASES = {
    **{mode: partial(UpsampleDecoder, **SMALL, mode=mode, skips=True) for mode in MODES},
    "separable": partial(UpsampleDecoder, **SMALL, skips=True, convs=[2, 1], separable=True),
    "context": partial(UpsampleDecoder, **SMALL, **CONTEXT, bottom=[24]),
    "queries": partial(ColorQueryDecoder, **SMALL, queries=5, width=16, rounds=1),
    "unet": partial(UNetDecoder, norm="instance"),
    "zhang": partial(ZhangDecoder),
}


# At least 128 channels amplify rounding errors.
@pytest.fixture(params=[case for case in CASES if case != "zhang"])
def network(request):
    torch.manual_seed(0)
    encoder = ConvEncoder([4, 8, 12, 16], convs=1, norm="group")
    decoder = CASES[request.param](encoder.info)
    return perturbed(ColorizationNetwork(encoder, decoder, AbHead(decoder.out_channels)))


def test_bfloat16_and_channels_last_predict_alike(network):
    network.eval()
    L = torch.rand(2, 1, 35, 47) * 2 - 1
    with torch.no_grad():
        exact = network(L)
        with torch.autocast("cpu", torch.bfloat16):
            lowered = network(L)
        network.to(memory_format=torch.channels_last)
        last = network(L.to(memory_format=torch.channels_last))
    assert exact.abs().max() > 0.05
    torch.testing.assert_close(last, exact, rtol=1e-4, atol=1e-4)
    assert (lowered - exact).abs().mean() < 0.05 * exact.abs().mean() + 0.005


@pytest.mark.parametrize("network", ["context", "queries"], indirect=True)
def test_exported_program_predicts_alike_for_another_batch(network):
    network.eval()
    sizes = {0: torch.export.Dim("batch", min=2)}
    program = torch.export.export(network, (torch.rand(2, 1, 40, 48),), dynamic_shapes=(sizes,))
    L = torch.rand(3, 1, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(L), network(L))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reductions", [(1, 2, 4, 8), (2, 4, 8, 16, 32), (4, 16)])
@pytest.mark.parametrize("rounded", [math.floor, math.ceil])
def test_levels_of_any_encoder_and_odd_sizes_train_every_parameter(case, reductions, rounded):
    info = FeatureInfo(tuple(range(8, 8 + len(reductions))), reductions)
    out = {"unet": 2, "zhang": 1}.get(case, reductions[-1] // 4)
    options = {} if case in ("unet", "zhang") else {"widths": None, "out_reduction": out}
    decoder = perturbed(CASES[case](info, **options))
    levels = [
        torch.randn(1, c, rounded(97 / r), rounded(131 / r))
        for c, r in zip(info.channels, reductions, strict=True)
    ]
    decoded = decoder(levels)
    assert decoded.shape[1] == decoder.out_channels
    for actual, side in zip(decoded.shape[-2:], (97, 131), strict=True):
        assert abs(actual - side / out) < reductions[-1] / out
    assert AbHead(decoder.out_channels)(decoded, (97, 131)).shape == (1, 2, 97, 131)
    (decoded * torch.randn_like(decoded)).sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad.isfinite().all(), name
        # An instance norm takes off the bias of the convolution before it.
        assert parameter.grad.any() or case == "unet", name


# Steps.


def test_published_vgg16_decoder():
    info = FeatureInfo((64, 128, 256, 512, 512), (2, 4, 8, 16, 32))
    widths, convs = [64, 32, 16, 16], [1, 1, 1, 0]
    decoder = UpsampleDecoder(info, widths, convs, [256, 128], norm="none", out_reduction=2)
    convs = [m for m in decoder.modules() if isinstance(m, nn.Conv2d)]
    found = [(conv.in_channels, conv.out_channels) for conv in convs]
    assert found == [(512, 256), (256, 128), (128, 64), (64, 32), (32, 16)]
    assert tuple(decoder([torch.zeros(1, 512, 7, 7)]).shape) == (1, 16, 112, 112)
    assert decoder.out_channels == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": [8, 8]}, "widths has 2 numbers; from /8 to /1 there are 3 steps"),
        ({"convs": [1]}, "convs has 1 numbers"),
        ({"mode": "bicubic"}, "mode is bicubic; accepted are nearest, bilinear, transposed, "),
        ({"out_reduction": 3}, "out_reduction is 3"),
        ({"out_reduction": 8}, "out_reduction is 8"),
        ({"out_reduction": 4, "attention": 16}, r"16; the decoder has maps at /8, /4$"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        UpsampleDecoder(INFO, **arguments)


def test_normed_levels_count_alike_whatever_the_scale_of_their_channels():
    torch.manual_seed(0)
    levels = levels_of(32, 32)
    scaled = [x * torch.logspace(0, 2, x.shape[1])[:, None, None] for x in levels]
    plain, normed = (UpsampleDecoder(INFO, skips=True, norm_levels=norm) for norm in (False, True))
    assert not torch.allclose(plain(levels), plain(scaled), atol=0.1)
    torch.testing.assert_close(normed(levels), normed(scaled), atol=1e-3, rtol=0)


def test_one_value_per_channel_is_normed_by_the_running_statistics():
    decoder = UpsampleDecoder(INFO, norm_levels=True)
    (norm,) = decoder.bottom
    levels = levels_of(8, 8, batch=1)
    assert decoder(levels).requires_grad
    torch.testing.assert_close(norm(levels[-1]), norm.eval()(levels[-1]))


# Self-attention, gated skips, global context.


def test_attention_equals_torchs():
    torch.manual_seed(0)
    attention = perturbed(SelfAttention(64)).double()
    theirs = nn.MultiheadAttention(64, num_heads=2, batch_first=True, dtype=torch.float64)
    for layer, conv in ((theirs.out_proj, attention.out), (theirs, attention.qkv)):
        prefix = "in_proj_" if layer is theirs else ""
        setattr(layer, f"{prefix}weight", nn.Parameter(conv.weight.flatten(1)))
        setattr(layer, f"{prefix}bias", conv.bias)
    x = torch.randn(2, 64, 3, 4, dtype=torch.float64)
    normed = F.layer_norm(x, x.shape[1:]) * attention.norm.weight[:, None, None]
    pixels = (normed + attention.norm.bias[:, None, None]).flatten(2).mT
    added = theirs(pixels, pixels, pixels)[0].mT.view_as(x)
    assert added.abs().max() > 0.1
    torch.testing.assert_close(attention(x), x + added, rtol=1e-10, atol=1e-10)


def far_corner_matters(decoder):
    levels = levels_of(48, 48)
    with torch.no_grad():
        before = decoder(levels)[..., -4:, -4:]
        levels[-1][..., 0, 0] += 10
        return not torch.equal(decoder(levels)[..., -4:, -4:], before)


@pytest.mark.parametrize("mode", ["bilinear", "transposed", "pixel_shuffle"])
@pytest.mark.parametrize("level", [8, 4, 2, 1])
def test_attention_at_each_level_starts_as_without_it(mode, level):
    """A pixel of the coarsest level's corner reaches the opposite corner by attention only."""
    torch.manual_seed(0)
    plain = UpsampleDecoder(INFO, mode=mode).eval()
    decoder = UpsampleDecoder(INFO, mode=mode, attention=level).eval()
    missing, unexpected = decoder.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert len(missing) == 6
    levels = levels_of(48, 48)
    torch.testing.assert_close(decoder(levels), plain(levels))

    for module in decoder.modules():
        if isinstance(module, SelfAttention):
            perturbed(module)
    assert not far_corner_matters(plain)
    assert far_corner_matters(decoder)


# Color queries.


def test_queries_attend_to_three_scales_in_turn():
    info, seen = FeatureInfo((8, 12, 16, 20, 24), (2, 4, 8, 16, 32)), []
    decoder = ColorQueryDecoder(info, queries=6, width=32, rounds=2, out_reduction=2)
    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].shape[1]))
    affinities = decoder(levels_of(64, 128, info, batch=1))
    assert tuple(affinities.shape) == (1, 6, 32, 64)
    assert decoder.out_channels == 6
    assert seen == [2 * 4, 4 * 8, 8 * 16] * 2


def test_queries_see_the_far_corner_and_alone_tell_the_maps_apart():
    torch.manual_seed(0)
    decoder = ColorQueryDecoder(INFO, queries=6, width=32, rounds=1, out_reduction=2).eval()
    assert far_corner_matters(decoder)
    assert not far_corner_matters(decoder.pixels)
    levels = levels_of(32, 32)
    with torch.no_grad():
        maps = decoder(levels)
        assert (maps[:, 0] - maps[:, 1]).abs().max() > 0.1
        decoder.queries[1] = decoder.queries[0]
        maps = decoder(levels)
    torch.testing.assert_close(maps[:, 0], maps[:, 1])
