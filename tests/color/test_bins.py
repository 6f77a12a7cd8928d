import math

import pytest
import torch

from lightning_colorize.color import AbBins


@pytest.fixture
def bins():
    return AbBins()


def at(*colors):
    """Return colors as an image of one row: (1, 2, 1, N)."""
    return torch.tensor(colors, dtype=torch.float32).T[None, :, None]


def index(bins, a, b):
    return int((bins.centers == torch.tensor([a, b])).all(1).nonzero())


def test_the_313_bins_of_the_paper(bins):
    assert bins.centers.shape == (313, 2)
    assert (bins.centers % 10 == 0).all()
    # Of the authors' pts_in_hull.npy: the first and last rows, and the ends of others.
    by_a = {a: bins.centers[bins.centers[:, 0] == a, 1].tolist() for a in (-90, -80, 0, 60, 100)}
    assert by_a[-90] == [50, 60, 70, 80, 90]
    assert by_a[-80] == [20, 30, 40, 50, 60, 70, 80, 90]
    assert (by_a[0][0], by_a[0][-1], len(by_a[0])) == (-70, 100, 18)
    assert (by_a[60][0], by_a[60][-1], len(by_a[60])) == (-110, 80, 20)
    assert by_a[100] == [-90, -80, -70, -60, -50, -40, -30, -20, -10, 0]


def test_soft_code_of_a_center(bins):
    nearest, codes = bins.encode(at((20, -30)))
    assert int(nearest[0, 0]) == index(bins, 20, -30)
    neighbors = [(10, -30), (30, -30), (20, -40), (20, -20)]
    assert set(nearest[0, 1:].flatten().tolist()) == {index(bins, *ab) for ab in neighbors}
    # The center, and its 4 neighbors at a distance of 10: exp(-100 / (2 * 25)) = exp(-2).
    expected = torch.tensor([1.0] + [math.exp(-2)] * 4) / (1 + 4 * math.exp(-2))
    torch.testing.assert_close(codes.flatten(), expected)


def test_the_prior_counts_pixels(bins):
    assert bins.weights.unique().tolist() == [1]
    bins.update(at((0, 0), (1, -2), (4, 4)))
    bins.update(at((52, 11)))
    assert float(bins.prior[index(bins, 0, 0)]) == pytest.approx(0.75)
    assert float(bins.prior[index(bins, 50, 10)]) == pytest.approx(0.25)
    assert float(bins.prior.sum()) == pytest.approx(1)
    assert int(bins.pixels) == 4


def test_weights_of_a_made_prior(bins):
    bins.update(at((0, 0), (0, 0), (0, 0), (50, 10)))
    bins.finish()
    # By hand: each pixel is spread over the bins by a Gaussian of sigma 5 around its own.
    smooth = torch.zeros(313, dtype=torch.float64)
    for share, center in ((0.75, (0, 0)), (0.25, (50, 10))):
        squared = (bins.centers.double() - torch.tensor(center)).square().sum(1)
        spread = torch.exp(-squared / 50)
        smooth += share * spread / spread.sum()
    weights = 1 / (0.5 * smooth + 0.5 / 313)
    weights /= (smooth * weights).sum()
    torch.testing.assert_close(bins.weights.double(), weights, rtol=1e-4, atol=1e-6)
    rare, common = bins.weights[index(bins, -40, 40)], bins.weights[index(bins, 0, 0)]
    assert float(rare / common) == pytest.approx(float((smooth.max() + 1 / 313) * 313), rel=1e-3)


def two_peaks(bins):
    """Return logits of p = 0.6 at (0, 0) and 0.4 at (50, 10)."""
    logits = torch.full((1, 313, 1, 1), -100.0)
    logits[0, index(bins, 0, 0)] = math.log(0.6)
    logits[0, index(bins, 50, 10)] = math.log(0.4)
    return logits


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.38, 0.01])
def test_annealed_mean(bins, temperature):
    share = 1 / (1 + (0.6 / 0.4) ** (1 / temperature))
    ab = bins.decode(two_peaks(bins), torch.tensor(temperature), torch.tensor(0.0))
    expected = torch.tensor([50 * share, 10 * share])
    torch.testing.assert_close(ab.flatten(), expected, atol=1e-3, rtol=1e-4)


def test_weights_are_taken_out_to_a_degree(bins):
    bins.weights[index(bins, 50, 10)] = 4.0
    for exponent, ratio in ((0.0, 4 / 6), (0.5, 4 / 6 / 2), (1.0, 4 / 6 / 4)):
        ab = bins.decode(two_peaks(bins), torch.tensor(1.0), torch.tensor(exponent))
        share = ratio / (1 + ratio)
        torch.testing.assert_close(ab[0, 0, 0, 0], torch.tensor(50 * share), rtol=1e-4, atol=1e-4)


def test_decoding_is_in_fp32_under_autocast(bins):
    logits = torch.randn(1, 313, 4, 4)
    expected = bins.decode(logits, torch.tensor(0.38), torch.tensor(0.5))
    with torch.autocast("cpu", torch.bfloat16):
        ab = bins.decode(logits, torch.tensor(0.38), torch.tensor(0.5))
    assert ab.dtype == torch.float32
    torch.testing.assert_close(ab, expected)
