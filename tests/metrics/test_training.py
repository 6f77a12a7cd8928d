"""Metrics of a training batch."""

import pytest
import torch

from lightning_colorize.metrics import batch_metrics, colorization_metrics, diversity_ratio


@pytest.mark.parametrize("autocast", [False, True])
def test_ratio_and_correlation_equal_validation(images, autocast):
    validation = colorization_metrics()
    validation.update(*images)
    expected = validation.compute()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        metrics = batch_metrics(images[0], images[1].requires_grad_(), images[2])
    assert not any(metric.requires_grad for metric in metrics.values())
    assert set(metrics) == {"colorfulness_ratio", "ab_corr", "diversity"}
    for name in ("colorfulness_ratio", "ab_corr"):
        assert metrics[name].item() == pytest.approx(expected[name].item(), rel=1e-4)


def tinted(means):
    """Return images of these mean (a, b), with pixels that vary around them."""
    noise = torch.randn(len(means), 2, 8, 6, generator=torch.Generator().manual_seed(0))
    noise -= noise.mean(dim=(2, 3), keepdim=True)
    return torch.tensor(means)[..., None, None] + noise * 10


# Distances 3, 4 and 5: a mean of 4.
TRUTH = tinted([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([[20.0, -5.0]] * 3, 0.0),  # one tint, however strong
        ([[1.0, 1.0], [2.5, 1.0], [1.0, 3.0]], 0.5),  # half as far apart, other means
        ([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], 1.0),
        ([[0.0, 0.0], [0.0, 0.0], [6.0, 0.0]], 1.0),  # 0, 6 and 6
        ([[0.0, 0.0], [9.0, 0.0], [0.0, 12.0]], 3.0),
    ],
)
def test_by_hand(means, expected):
    ratio = diversity_ratio(tinted(means), TRUTH)
    assert ratio.shape == ()
    assert ratio.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "truth", [TRUTH[:1], TRUTH[:1].repeat(3, 1, 1, 1), torch.zeros(3, 2, 4, 4)]
)
def test_constant_truth_gives_nan(truth):
    assert diversity_ratio(torch.randn(truth.shape), truth).isnan()
