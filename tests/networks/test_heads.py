import pytest
import torch

from lightning_colorize.color import AB_SCALE, to_lab
from lightning_colorize.networks import AbHead, ClassificationHead, DeconvHead, RgbHead


def pair(head=AbHead, **options):
    """The same weights for both ranges."""
    torch.manual_seed(0)
    wide, unit = head(4, "-1..1", **options), head(4, "0..1", **options)
    torch.nn.init.normal_(wide.conv.weight)
    unit.load_state_dict(wide.state_dict())
    return wide, unit


@pytest.mark.parametrize("activation", ["tanh", "none"])
def test_both_ranges_give_the_same_image(activation):
    wide, unit = pair(activation=activation)
    decoded = torch.randn(2, 4, 5, 6)
    a, b = wide(decoded, (10, 12)), unit(decoded, (10, 12))
    torch.testing.assert_close(b, a / 2 + 0.5)
    torch.testing.assert_close(unit.to_ab(b), wide.to_ab(a))
    # and the same loss, but for the factor of the range
    ab = torch.rand(2, 2, 10, 12) * 2 - 1
    errors = (a - wide.target(ab)).square().mean(), (b - unit.target(ab)).square().mean()
    torch.testing.assert_close(errors[0], 4 * errors[1])


def test_starts_almost_grey():
    torch.manual_seed(0)
    head = AbHead(64)
    ab = head.to_ab(head(torch.randn(2, 64, 16, 16), (16, 16)))
    assert 0 < ab.abs().max() < 0.15  # 110 * 0.15 is still a pale grey-blue at the very worst
    assert ab.std() < 0.03


def test_both_ranges_are_as_fine_in_half_precision():
    symmetric, unit = pair()
    decoded = torch.randn(1, 4, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        ab = [head.to_ab(head(decoded, (64, 64))) for head in (symmetric, unit)]
    # Half a unit of ab is 0.0045 here; bf16 near 0.5 has steps of 0.004 to 0.008 in ab.
    assert (ab[0] - ab[1]).abs().max() < 1e-5


@pytest.mark.parametrize("head", [AbHead, DeconvHead])
@pytest.mark.parametrize("size", [(10, 12), (11, 13), (5, 6), (40, 17)])
def test_size_fp32_and_no_change_of_the_input(head, size):
    wide, _ = pair(head)
    decoded = torch.randn(1, 4, 5, 6)
    before = decoded.clone()
    with torch.autocast("cpu", torch.bfloat16):
        prediction = wide(decoded, size)
    assert prediction.shape == (1, 2, *size)
    assert prediction.dtype == torch.float32
    assert torch.equal(decoded, before)


def test_classification_at_a_quarter_of_any_map():
    head = ClassificationHead(4)
    for side in (2, 8, 32):  # coarser than, equal to and finer than a quarter
        assert head(torch.randn(1, 4, side, 2 * side), (32, 64)).shape == (1, 313, 8, 16)
    assert head.target(torch.zeros(1, 2, 30, 61)).shape == (1, 10, 8, 16)


def test_the_decoding_of_a_classification_is_saved():
    head = ClassificationHead(4, vividness=0.2, temperature=0.5)
    logits = torch.randn(1, 313, 2, 2)
    other = ClassificationHead(4)
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other.to_ab(logits), head.to_ab(logits))
    other.set_decoding(1.0, 0.5)
    head.bins.weights[:100] = 5.0
    other.load_state_dict(head.state_dict())
    assert (float(other.vividness), float(other.temperature)) == pytest.approx((0.2, 0.5))


def test_a_vividness_of_0_takes_the_weights_out_and_1_leaves_them_in():
    head = ClassificationHead(4)
    bins = head.bins
    bins.update(torch.randn(1, 2, 64, 64) * 20 + 5)
    bins.finish()
    weighted = bins.prior * bins.weights
    logits = weighted.clamp_min(1e-30).log().view(1, -1, 1, 1)
    for vividness, shares in ((0, bins.prior), (1, weighted / weighted.sum())):
        head.set_decoding(vividness, 1)
        mean = (shares[:, None] * bins.centers).sum(0) / AB_SCALE
        torch.testing.assert_close(head.to_ab(logits).flatten(), mean, atol=1e-4, rtol=1e-3)


def test_predictions_are_mixed_with_given_colors_by_their_odds():
    torch.manual_seed(0)
    ab = torch.tensor([0.4, -0.2]).view(1, 2, 1, 1)
    odds = [torch.tensor(odds).log().view(1, 1, 1, 1) for odds in (1e-30, 1.0, 1e6)]
    head = AbHead(4, "0..1")
    prediction = head.target(torch.tensor([-0.2, 0.2]).view(1, 2, 1, 1))
    mixed = torch.cat([head.to_ab(head.mix(prediction, ab, each)) for each in odds])
    expected = torch.tensor([[-0.2, 0.2], [0.1, 0.0], [0.4, -0.2]])
    torch.testing.assert_close(mixed[..., 0, 0], expected, atol=1e-5, rtol=0)
    head = ClassificationHead(4)
    logits = torch.randn(1, len(head.bins), 1, 1)
    never, even, always = (head.bins.moments(head.mix(logits, ab, each))[0] for each in odds)
    torch.testing.assert_close(never, head.bins.moments(logits)[0])
    torch.testing.assert_close(even, (never + always) / 2)
    torch.testing.assert_close(always, ab * AB_SCALE, atol=1, rtol=0)
    head.bins.weights.copy_(torch.rand(len(head.bins)) + 0.5)
    always, _ = head.bins.moments(head.mix(logits, ab, odds[2]))
    torch.testing.assert_close(always, ab * AB_SCALE, atol=1, rtol=0)


def test_rgb_is_the_target_and_its_colors_are_the_ab():
    head, rgb = RgbHead(4), torch.rand(2, 3, 6, 5)
    L, ab = to_lab(rgb)
    torch.testing.assert_close(head.target(ab / AB_SCALE, L / 50 - 1), rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(head.to_ab(rgb) * AB_SCALE, ab)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = head(torch.randn(1, 4, 5, 6) * 1e4, (10, 12))
    assert prediction.shape == (1, 3, 10, 12)
    assert prediction.dtype == torch.float32
    assert prediction.min() >= 0
    assert prediction.max() <= 1
