"""Self-attention, gated skips, global context and color queries."""

import math

import pytest
import torch

from lightning_colorize.networks import (
    AbHead,
    Colorizer,
    ColorQueryDecoder,
    ConvEncoder,
    DeconvDecoder,
    FeatureInfo,
    PixelShuffleDecoder,
    UpsampleDecoder,
    parameter_count,
)
from lightning_colorize.networks.decoders.color_queries import affinity
from lightning_colorize.networks.decoders.context import (
    GlobalContext,
    SelfAttention,
    SkipGate,
    head_count,
)

INFO = FeatureInfo((8, 12, 20), (2, 4, 8))
PYRAMIDS = [UpsampleDecoder, DeconvDecoder, PixelShuffleDecoder]
ALL = {"attention": 4, "skips": "gated", "global_context": True}


def features(height, width, batch=2):
    return [
        torch.randn(batch, c, height // r, width // r)
        for c, r in zip(INFO.channels, INFO.reductions, strict=True)
    ]


def perturbed(module):
    """Add noise to the parameters, so that what starts at zero acts."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module


# Self-attention.


def naive_attention(module, x):
    """Pixel by pixel: softmax of scaled dot products within each head."""
    batch, channels, height, width = x.shape
    size = channels // module.heads
    mean = x.mean((1, 2, 3), keepdim=True)
    variance = x.var((1, 2, 3), keepdim=True, unbiased=False)
    normed = (x - mean) / torch.sqrt(variance + module.norm.eps)
    normed = normed * module.norm.weight[:, None, None] + module.norm.bias[:, None, None]
    gathered = torch.zeros_like(x)
    weight, bias = module.qkv.weight[:, :, 0, 0], module.qkv.bias
    for image in range(batch):
        pixels = normed[image].reshape(channels, -1).T @ weight.T + bias
        q, k, v = pixels.split(channels, dim=1)
        for head in range(module.heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(height * width):
                scores = torch.stack(
                    [q[i, part] @ k[j, part] / math.sqrt(size) for j in range(height * width)]
                )
                shares = scores.exp() / scores.exp().sum()
                value = sum(share * v[j, part] for j, share in enumerate(shares))
                gathered[image, part, i // width, i % width] = value
    weight, bias = module.out.weight[:, :, 0, 0], module.out.bias
    return x + torch.einsum("oc,bchw->bohw", weight, gathered) + bias[:, None, None]


def test_attention_equals_a_naive_one():
    torch.manual_seed(0)
    attention = perturbed(SelfAttention(64)).double()
    assert attention.heads == 2
    x = torch.randn(2, 64, 3, 4, dtype=torch.float64)
    expected = naive_attention(attention, x)
    assert (expected - x).abs().max() > 0.1
    torch.testing.assert_close(attention(x), expected, rtol=1e-10, atol=1e-10)


def test_attention_starts_as_the_identity():
    x = torch.randn(1, 48, 5, 7)
    torch.testing.assert_close(SelfAttention(48)(x), x, rtol=0, atol=0)


def test_heads_divide_the_channels():
    assert [head_count(c) for c in (8, 32, 64, 80, 96, 100, 160, 320)] == [1, 1, 2, 2, 3, 1, 5, 10]


@pytest.mark.parametrize("cls", PYRAMIDS)
@pytest.mark.parametrize("level", [8, 4, 2, 1])
def test_attention_at_each_level_starts_as_without_it(cls, level):
    """A pixel of the coarsest level's corner reaches the opposite corner by attention only."""
    torch.manual_seed(0)
    plain = cls(INFO).eval()
    decoder = cls(INFO, attention=level).eval()
    missing, unexpected = decoder.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert len(missing) == 6
    levels = features(48, 48)
    torch.testing.assert_close(decoder(levels), plain(levels))

    for module in decoder.modules():
        if isinstance(module, SelfAttention):
            perturbed(module)
    assert not far_corner_matters(plain)
    assert far_corner_matters(decoder)


def far_corner_matters(decoder):
    levels = features(48, 48)
    with torch.no_grad():
        before = decoder(levels)[..., -4:, -4:]
        levels[-1][..., 0, 0] += 10
        return not torch.equal(decoder(levels)[..., -4:, -4:], before)


def test_attention_at_no_level_of_the_decoder_is_refused():
    with pytest.raises(ValueError, match=r"attention is 16; the decoder has maps at /8, /4$"):
        UpsampleDecoder(INFO, attention=16, out_reduction=4)


# Gated skips.


def test_gate_by_hand():
    """sigmoid(2 * relu(3 * 1 + 0.5 * 4 - 4) - 1) = sigmoid(1)."""
    gate = SkipGate(1, 1)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.zero_()
        gate.skip.weight[0], gate.signal.weight[0] = 3.0, 0.5
        gate.signal.bias[0], gate.gate.weight[0, 0], gate.gate.bias[0] = -4.0, 2.0, -1.0
    gated = gate(torch.tensor([[[[1.0]]]]), torch.tensor([[[[4.0]]]]))
    assert gated.item() == pytest.approx(1 / (1 + math.exp(-1)))


def test_gates_start_open_and_a_closed_one_removes_its_skip():
    torch.manual_seed(0)
    decoder = UpsampleDecoder(INFO, skips="gated").eval()
    skip, x = torch.randn(1, 12, 4, 4), torch.randn(1, 20, 4, 4)
    torch.testing.assert_close(
        decoder.steps[0].gate(skip, x) / skip, torch.ones(()).expand_as(skip), rtol=0.1, atol=0
    )

    levels = features(32, 32)
    changed = [levels[0], levels[1] + 1, levels[2]]
    with torch.no_grad():
        assert not torch.equal(decoder(levels), decoder(changed))
        decoder.steps[0].gate.gate.bias.fill_(-1e4)
        torch.testing.assert_close(decoder(levels), decoder(changed), rtol=0, atol=0)


def test_gate_depends_on_the_pixel():
    gate = perturbed(SkipGate(4, 6))
    shares = gate(torch.ones(1, 4, 3, 3), torch.randn(1, 6, 3, 3))
    assert shares[0, 0].unique().numel() == 9
    torch.testing.assert_close(shares[:, 0], shares[:, 3])


# Global context.


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


@pytest.mark.parametrize("cls", PYRAMIDS)
def test_context_carries_a_far_corner(cls):
    torch.manual_seed(0)
    assert not far_corner_matters(cls(INFO).eval())
    assert far_corner_matters(cls(INFO, global_context=True).eval())


# Color queries.


def test_affinity_by_hand():
    queries = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [1.0, -2.0, 0.0, 4.0]]])
    pixels = torch.zeros(1, 4, 1, 2)
    pixels[0, :, 0, 0] = torch.tensor([6.0, 1.0, 9.0, 2.0])
    pixels[0, :, 0, 1] = torch.tensor([2.0, 0.0, 9.0, 1.0])
    torch.testing.assert_close(
        affinity(queries, pixels), torch.tensor([[[[3.0, 1.0]], [[6.0, 3.0]]]])
    )


def queries_of(scales=3, **arguments):
    torch.manual_seed(0)
    info = FeatureInfo((8, 12, 16, 20, 24)[-scales - 1 :], (2, 4, 8, 16, 32)[-scales - 1 :])
    return info, ColorQueryDecoder(
        info, queries=6, width=32, rounds=2, out_reduction=info.reductions[0], **arguments
    )


def test_queries_attend_to_three_scales_in_turn():
    info, decoder = queries_of(scales=4)
    seen = []
    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].shape[1]))
    levels = [
        torch.randn(1, c, 64 // r, 128 // r)
        for c, r in zip(info.channels, info.reductions, strict=True)
    ]
    affinities = decoder(levels)
    assert tuple(affinities.shape) == (1, 6, 32, 64)
    assert decoder.out_channels == 6
    assert seen == [2 * 4, 4 * 8, 8 * 16] * 2


def test_queries_see_the_far_corner():
    torch.manual_seed(0)
    decoder = ColorQueryDecoder(INFO, queries=6, width=32, rounds=1, out_reduction=2).eval()
    assert far_corner_matters(decoder)
    assert not far_corner_matters(decoder.pixels)


def test_equal_queries_give_equal_maps():
    """What differs between the maps comes from the queries alone."""
    _, decoder = queries_of()
    levels = [torch.randn(1, c, 8 * 2**i, 8 * 2**i) for i, c in enumerate((24, 20, 16, 12))][::-1]
    with torch.no_grad():
        maps = decoder(levels)
        assert (maps[:, 0] - maps[:, 1]).abs().max() > 0.1
        decoder.queries[1] = decoder.queries[0]
        maps = decoder(levels)
    torch.testing.assert_close(maps[:, 0], maps[:, 1])


# All of them.


def test_parameters_by_hand():
    def added(**arguments):
        decoders = [UpsampleDecoder(INFO, skips=True), UpsampleDecoder(INFO, **arguments)]
        plain, extended = [parameter_count(decoder)[0] for decoder in decoders]
        return extended - plain

    # norm, qkv, out; the map at /4 has 32 channels
    assert added(skips=True, attention=4) == 2 * 32 + 33 * 96 + 33 * 32
    assert added(skips=True, global_context=True) == 21 * 20 + 41 * 20
    # gates of 12 (with the map's 20) and 8 (with 32) channels
    assert added(skips="gated") == (12 + 21) * 8 + 9 + (8 + 33) * 8 + 9
    _, decoder = queries_of(scales=1)
    pixels = parameter_count(decoder.pixels)[0]
    assert pixels == 9 * (24 + 20) * 32 + 2 * 32
    # self- and cross-attention, two linear layers, three norms
    layer = 2 * (33 * 96 + 33 * 32) + 33 * 128 + 129 * 32 + 3 * 64
    scale = 25 * 32 + 64
    assert parameter_count(decoder)[0] == pixels + 6 * 32 + 2 * layer + scale + 64 + 33 * 32


@pytest.fixture(params=[*PYRAMIDS, ColorQueryDecoder])
def network(request):
    torch.manual_seed(0)
    encoder = ConvEncoder([4, 8, 12, 16], convs=1, norm="group")
    own = {"queries": 5, "width": 16, "rounds": 1} if request.param is ColorQueryDecoder else ALL
    arguments = {"widths": [12, 8], "norm": "group", "out_reduction": 2}
    decoder = request.param(encoder.info, **arguments, **own)
    return perturbed(Colorizer(encoder, decoder, AbHead(decoder.out_channels)))


def test_one_image_of_odd_size_trains_every_parameter(network):
    prediction = network(torch.rand(1, 1, 35, 47) * 2 - 1)
    assert tuple(prediction.shape) == (1, 2, 35, 47)
    (prediction * torch.randn_like(prediction)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("module", [SelfAttention(32), GlobalContext(32)])
def test_one_pixel_of_one_image_trains(module):
    assert module.train()(torch.randn(1, 32, 1, 1)).isfinite().all()


def test_decoders_take_levels_of_odd_sizes(network):
    levels = network.encoder(torch.rand(1, 1, 35, 47))
    assert tuple(network.decoder(levels).shape[-2:]) == tuple(levels[1].shape[-2:]) == (17, 23)


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


@pytest.mark.parametrize("network", [UpsampleDecoder, ColorQueryDecoder], indirect=True)
def test_exported_program_predicts_alike_for_another_batch(network):
    network.eval()
    sizes = {0: torch.export.Dim("batch", min=2)}
    program = torch.export.export(network, (torch.rand(2, 1, 40, 48),), dynamic_shapes=(sizes,))
    L = torch.rand(3, 1, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(L), network(L))
