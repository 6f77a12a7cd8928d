"""Every decoder: its contract, steps, self-attention, gated skips, global context, queries."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_colorize.networks import (
    AbHead,
    Colorizer,
    ColorQueryDecoder,
    ConvEncoder,
    FeatureInfo,
    UNetDecoder,
    UpsampleDecoder,
    ZhangDecoder,
    parameter_count,
)
from lightning_colorize.networks.decoders.color_queries import affinity
from lightning_colorize.networks.decoders.context import (
    GlobalContext,
    SelfAttention,
    SkipGate,
    head_count,
)
from lightning_colorize.networks.decoders.upsample import PixelShuffleBlock, TransposedBlock

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
    return perturbed(Colorizer(encoder, decoder, AbHead(decoder.out_channels)))


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


@pytest.mark.parametrize("mode", MODES)
def test_a_step_without_convolutions(mode):
    decoder = UpsampleDecoder(INFO, convs=0, skips=True, mode=mode)
    assert decoder(levels_of(48, 32)).shape == (2, decoder.out_channels, 48, 32)


def test_parameters_by_hand():
    def count(decoder):
        return parameter_count(decoder)[0]

    def block(a, b):
        return 9 * a * b + 2 * b

    def plain(**arguments):
        return count(UpsampleDecoder(INFO, widths=[16, 10, 6], **arguments))

    steps = [(20, 16), (16, 10), (10, 6)]
    assert plain() == sum(block(a, b) for a, b in steps)
    with_skips = block(20 + 12, 16) + block(16 + 8, 10) + block(10, 6)
    assert plain(skips=True) == with_skips
    # gates of 12 (with the map's 20) and 8 (with 16) channels
    assert plain(skips="gated") == with_skips + (12 + 21) * 8 + 9 + (8 + 17) * 8 + 9
    assert plain(mode="transposed", convs=0) == sum(16 * a * b + 2 * b for a, b in steps)
    shuffled = sum((a + 1) * 4 * b + 2 * b + block(b, b) for a, b in steps)
    assert plain(mode="pixel_shuffle") == shuffled
    # norm, qkv, out; the map at /4 has 16 channels
    assert plain(attention=4) - plain() == 2 * 16 + 17 * 48 + 17 * 16
    assert plain(global_context=True) - plain() == 21 * 20 + 41 * 20

    info = FeatureInfo((20, 24), (16, 32))
    queries = ColorQueryDecoder(info, queries=6, width=32, rounds=2, out_reduction=16)
    pixels = block(24 + 20, 32)
    assert count(queries.pixels) == pixels
    # self- and cross-attention, two linear layers, three norms
    layer = 2 * (33 * 96 + 33 * 32) + 33 * 128 + 129 * 32 + 3 * 64
    scale = 25 * 32 + 64
    assert count(queries) == pixels + 6 * 32 + 2 * layer + scale + 64 + 33 * 32


# Steps.


def widths_of(decoder):
    convs = (m for m in decoder.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
    return [(m.in_channels, m.out_channels) for m in convs]


def test_published_vgg16_decoder():
    info = FeatureInfo((64, 128, 256, 512, 512), (2, 4, 8, 16, 32))
    widths, convs = [64, 32, 16, 16], [1, 1, 1, 0]
    decoder = UpsampleDecoder(info, widths, convs, [256, 128], norm="none", out_reduction=2)
    assert widths_of(decoder) == [(512, 256), (256, 128), (128, 64), (64, 32), (32, 16)]
    assert tuple(decoder([torch.zeros(1, 512, 7, 7)]).shape) == (1, 16, 112, 112)
    assert decoder.out_channels == 16


@pytest.mark.parametrize("skips", [True, False])
def test_skips_are_used_where_they_fit(skips):
    decoder = UpsampleDecoder(INFO, skips=skips, out_reduction=4)
    levels = [f.requires_grad_() for f in levels_of(32, 32)]
    decoder(levels).sum().backward()
    assert levels[0].grad is None  # finer than the output
    assert (levels[1].grad is not None) == skips


def test_default_widths_halve_down_to_32():
    decoder = UpsampleDecoder(FeatureInfo((2048,), (32,)))
    assert [b for _, b in widths_of(decoder)] == [256, 128, 64, 32, 32]


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


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_interpolation(mode):
    decoder = UpsampleDecoder(INFO, widths=[20], convs=0, out_reduction=4, mode=mode)
    levels = levels_of(32, 32)
    expected = F.interpolate(levels[-1], scale_factor=2, mode=mode)
    torch.testing.assert_close(decoder(levels), expected)


def test_icnr_starts_as_nearest_interpolation():
    torch.manual_seed(0)
    y = PixelShuffleBlock(8, 6, "batch", blur=False)(torch.randn(2, 8, 5, 7))
    assert tuple(y.shape) == (2, 6, 10, 14)
    corner = y[..., ::2, ::2]
    torch.testing.assert_close(y, F.interpolate(corner, scale_factor=2))
    assert corner.std() > 0.1
    assert (corner[:, 0] - corner[:, 1]).abs().max() > 0.1  # channels do not start alike


def test_blur_averages_with_the_pixels_above_and_left():
    torch.manual_seed(0)
    sharp = PixelShuffleBlock(8, 6, "none", blur=False)
    blurred = PixelShuffleBlock(8, 6, "none", blur=True)
    blurred.load_state_dict(sharp.state_dict())
    x = torch.randn(1, 8, 4, 4)
    y = F.pad(sharp(x), (1, 0, 1, 0), mode="replicate")
    both = y[..., 1:, :] + y[..., :-1, :]
    torch.testing.assert_close(blurred(x), (both[..., 1:] + both[..., :-1]) / 4)


def test_transposed_convolution_keeps_the_signal():
    torch.manual_seed(0)
    y = TransposedBlock(64, 128, "none")(torch.randn(2, 64, 32, 32))[..., 1:-1, 1:-1]
    assert 0.85 < y.square().mean() < 1.15


def test_dropout_of_whole_channels_of_the_coarsest_map_in_training():
    torch.manual_seed(0)
    dropping, seen = UpsampleDecoder(INFO, bottom=[64], channel_dropout=0.25), []
    dropping.steps[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    levels = levels_of(32, 32)
    dropping(levels)
    kept = dropping.bottom(levels[-1])
    whole = torch.isclose(seen[0], kept / 0.75).flatten(2).all(2)
    dropped = (seen[0] == 0).flatten(2).all(2)
    assert (whole | dropped).all()
    assert 0.1 < dropped.float().mean() < 0.4
    dropping.eval()(levels)
    assert torch.equal(seen[1], dropping.bottom(levels[-1]))


def test_normed_levels_count_alike_whatever_the_scale_of_their_channels():
    torch.manual_seed(0)
    levels = levels_of(32, 32)
    scaled = [x * torch.logspace(0, 2, x.shape[1])[:, None, None] for x in levels]
    plain, normed = (UpsampleDecoder(INFO, skips=True, norm_levels=norm) for norm in (False, True))
    assert not torch.allclose(plain(levels), plain(scaled), atol=0.1)
    torch.testing.assert_close(normed(levels), normed(scaled), atol=1e-3, rtol=0)


@pytest.mark.parametrize("skips", [False, True, "gated"])
def test_every_parameter_of_normed_levels_is_trained(skips):  # else DDP stops
    decoder = UpsampleDecoder(INFO, skips=skips, out_reduction=4, norm_levels=True)
    decoder(levels_of(32, 32)).square().sum().backward()
    assert all(p.grad is not None for p in decoder.parameters())


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


def test_heads_divide_the_channels():
    assert [head_count(c) for c in (8, 32, 64, 80, 96, 100, 160, 320)] == [1, 1, 2, 2, 3, 1, 5, 10]


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


def test_gate_by_hand():
    """For each pixel of all channels sigmoid(2 * relu(3 * s + 0.5 * x - 4) - 1), s the first."""
    gate = SkipGate(2, 1)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.zero_()
        gate.skip.weight[0, 0], gate.signal.weight[0] = 3.0, 0.5
        gate.signal.bias[0], gate.gate.weight[0, 0], gate.gate.bias[0] = -4.0, 2.0, -1.0
    skip, x = torch.tensor([[[[1.0, 1.0]], [[5.0, 5.0]]]]), torch.tensor([[[[4.0, 0.0]]]])
    shares = torch.tensor([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))])
    torch.testing.assert_close(gate(skip, x), skip * shares)


def test_gates_start_open_and_a_closed_one_removes_its_skip():
    torch.manual_seed(0)
    decoder = UpsampleDecoder(INFO, skips="gated").eval()
    skip, x = torch.randn(1, 12, 4, 4), torch.randn(1, 20, 4, 4)
    shares = decoder.steps[0].gate(skip, x) / skip
    torch.testing.assert_close(shares, torch.ones_like(skip), rtol=0.1, atol=0)

    levels = levels_of(32, 32)
    changed = [levels[0], levels[1] + 1, levels[2]]
    with torch.no_grad():
        assert not torch.equal(decoder(levels), decoder(changed))
        decoder.steps[0].gate.gate.bias.fill_(-1e4)
        torch.testing.assert_close(decoder(levels), decoder(changed), rtol=0, atol=0)


def test_context_by_hand():
    """relu(2 * x + 5 * relu(mean + 1) - 3), mean of 0, 2, 4, 6 = 3."""
    context = GlobalContext(1)
    with torch.no_grad():
        context.layer.weight.fill_(1.0)
        context.layer.bias.fill_(1.0)
        context.fusion.weight.copy_(torch.tensor([2.0, 5.0]).view(1, 2, 1, 1))
        context.fusion.bias.fill_(-3.0)
    x = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]])
    expected = torch.tensor([[[[17.0, 21.0], [25.0, 29.0]]]])
    torch.testing.assert_close(context(x), expected)
    assert far_corner_matters(UpsampleDecoder(INFO, global_context=True).eval())


@pytest.mark.parametrize("module", [SelfAttention(32), GlobalContext(32)])
def test_one_pixel_of_one_image_trains(module):
    assert module.train()(torch.randn(1, 32, 1, 1)).isfinite().all()


# Color queries.


def test_affinity_by_hand():
    queries = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [1.0, -2.0, 0.0, 4.0]]])
    pixels = torch.zeros(1, 4, 1, 2)
    pixels[0, :, 0, 0] = torch.tensor([6.0, 1.0, 9.0, 2.0])
    pixels[0, :, 0, 1] = torch.tensor([2.0, 0.0, 9.0, 1.0])
    expected = torch.tensor([[[[3.0, 1.0]], [[6.0, 3.0]]]])
    torch.testing.assert_close(affinity(queries, pixels), expected)


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
