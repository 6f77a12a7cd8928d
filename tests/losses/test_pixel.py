"""Losses of pixels, and their weighted sum, by hand."""

import pytest
import torch

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses import L1, MSE, ChromaWeighted, Gradient, Huber, WeightedSum


def batch_of(target, ab=None):
    """Return a batch without lightness; its ab is zero unless given."""
    ab = torch.zeros_like(target) if ab is None else ab
    return ColorBatch(torch.zeros_like(target[:, :1]), ab, ["x"], target)


def row(*values):
    """Return an image of one row: (1, 2, 1, N)."""
    return torch.tensor(values).view(1, 2, 1, -1)


PREDICTION, TRUTH = row(0.5, -0.5, 0.0, 1.0), batch_of(row(0.25, -0.5, 1.0, 0.0))
# Chromas 0, 50, 20; with an offset of 10 weights 10, 60, 30 over their mean 100 / 3.
CHROMATIC = batch_of(torch.zeros(1, 2, 1, 3), row(0.0, 30.0, 0.0, 0.0, 40.0, -20.0))
ERROR = row(0.1, 0.2, 0.3, -0.1, 0.0, 0.0)
# Errors of one channel: [[0, 1, 1], [0, 0, 4]]; of the other: none.
EDGES = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 0.0, 4.0]], [[0.0] * 3] * 2])[None]


@pytest.mark.parametrize(
    ("loss", "prediction", "truth", "expected"),
    [
        (L1(), PREDICTION, TRUTH, (0.25 + 0 + 1 + 1) / 4),
        (MSE(), PREDICTION, TRUTH, (0.0625 + 0 + 1 + 1) / 4),
        # 0.5 e^2 within delta, delta (|e| - delta / 2) beyond.
        (Huber(0.5), PREDICTION, TRUTH, (0.03125 + 0 + 0.375 + 0.375) / 4),
        (Huber(2.0), PREDICTION, TRUTH, (0.03125 + 0 + 0.5 + 0.5) / 4),
        (Huber(), PREDICTION, TRUTH, 0.1 * (0.2 + 0 + 0.95 + 0.95) / 4),
        (ChromaWeighted(10.0), ERROR, CHROMATIC, (0.03 + 0.36 + 0.27 + 0.03) / 6),
        (ChromaWeighted(10.0, True), ERROR, CHROMATIC, (0.003 + 0.072 + 0.081 + 0.003) / 6),
        (Gradient(), EDGES, batch_of(0 * EDGES), ((1 + 0 + 0 + 4) + (0 + 1 + 3)) / 12),
        (Gradient(), torch.ones(1, 2, 1, 1), batch_of(torch.zeros(1, 2, 1, 1)), 0),
    ],
)
def test_by_hand(loss, prediction, truth, expected):
    value = loss(prediction, truth)
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert loss.terms(prediction, truth) == {}


@pytest.mark.parametrize("loss", [L1(), MSE(), Huber()])
def test_half_precision_is_summed_in_fp32(loss):
    low = torch.rand(1, 2, 64, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    truth = batch_of(torch.zeros(1, 2, 64, 64))
    value = loss(low, truth)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(low.double(), truth).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "terms"),
    [({"mse": 10.0, "l1": 3.0}, [2.5, 1.5]), ({"mse": 0.0}, [0.0, 0.5]), (None, [0.25, 0.5])],
)
def test_weighted_terms_add_up(weights, terms):
    loss = WeightedSum({"mse": MSE(), "l1": L1()}, weights)
    prediction, truth = torch.full((1, 2, 2, 2), 0.5), batch_of(torch.zeros(1, 2, 2, 2))
    found = {name: term.item() for name, term in loss.terms(prediction, truth).items()}
    assert found == {"mse": terms[0], "l1": terms[1]}
    assert loss(prediction, truth).item() == sum(terms)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: L1()(PREDICTION, ColorBatch(TRUTH.L, TRUTH.ab, ["a"])), "target is None"),
        (lambda: L1()(PREDICTION[:, :1], TRUTH), "decode is None"),
        (lambda: Huber(0.0), "delta must be above 0"),
        (lambda: ChromaWeighted(0.0), "offset must be above 0"),
        (lambda: WeightedSum({}), "losses is empty"),
        (lambda: WeightedSum({"l1": L1()}, {"l2": 1.0}), r"\['l2'\], but the losses are \['l1'\]"),
    ],
)
def test_wrong_use_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
