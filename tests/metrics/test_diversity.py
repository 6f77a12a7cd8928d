import itertools

import numpy as np
import pytest
import torch

from lightning_colorize.metrics import diversity_ratio


def images(means):
    """Return images of these mean (a, b), with pixels that vary around them."""
    noise = torch.randn(len(means), 2, 8, 6, generator=torch.Generator().manual_seed(0))
    noise -= noise.mean(dim=(2, 3), keepdim=True)
    return torch.tensor(means)[..., None, None] + noise * 10


# Distances 3, 4 and 5: a mean of 4.
TRUTH = images([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([[20.0, -5.0]] * 3, 0.0),  # one tint, however strong
        ([[1.0, 1.0], [2.5, 1.0], [1.0, 3.0]], 0.5),  # half as far apart, elsewhere
        ([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], 1.0),
        ([[0.0, 0.0], [0.0, 0.0], [6.0, 0.0]], 1.0),  # 0, 6 and 6
        ([[0.0, 0.0], [9.0, 0.0], [0.0, 12.0]], 3.0),
    ],
)
def test_by_hand(means, expected):
    ratio = diversity_ratio(images(means), TRUTH)
    assert ratio.shape == ()
    assert ratio.item() == pytest.approx(expected, abs=1e-5)


def test_distances_are_averaged_over_pairs_of_images():
    truth = images([[0.0, 0.0], [0.0, 0.0], [0.0, 6.0], [0.0, 6.0]])  # 4 of 6 pairs: a mean of 4
    ab_hat = images([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [6.0, 0.0]])  # 3 of 6 pairs: a mean of 3
    assert diversity_ratio(ab_hat, truth).item() == pytest.approx(0.75, abs=1e-5)


def test_against_numpy():
    random = np.random.default_rng(0)
    ab_hat, ab = random.normal(0, 20, (2, 7, 2, 5, 9))

    def spread(ab):
        means = ab.mean(axis=(2, 3))
        return np.mean([np.hypot(*(m - n)) for m, n in itertools.combinations(means, 2)])

    ratio = diversity_ratio(torch.from_numpy(ab_hat), torch.from_numpy(ab))
    assert ratio.item() == pytest.approx(spread(ab_hat) / spread(ab), rel=1e-5)


@pytest.mark.parametrize(
    "truth", [TRUTH[:1], TRUTH[:1].repeat(3, 1, 1, 1), torch.zeros(3, 2, 4, 4)]
)
def test_a_truth_that_does_not_vary_says_nothing(truth):
    assert diversity_ratio(torch.randn(truth.shape), truth).isnan()


def test_in_fp32_under_autocast_and_without_a_gradient():
    prediction = (TRUTH / 2).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        ratio = diversity_ratio(prediction, TRUTH)
    assert ratio.dtype == torch.float32
    assert not ratio.requires_grad
    assert ratio.item() == pytest.approx(0.5, abs=1e-5)
