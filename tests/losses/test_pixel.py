from dataclasses import replace

import pytest
import torch

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses import L1, MSE, Huber


def batch(target):
    target = torch.as_tensor(target).reshape(1, 2, 1, -1)
    L = torch.zeros(1, 1, *target.shape[-2:])
    return ColorBatch(L, torch.zeros_like(target), ["a"], target)


PREDICTION = torch.tensor([0.5, -0.5, 0.0, 1.0]).reshape(1, 2, 1, 2)
TRUTH = batch([0.25, -0.5, 1.0, 0.0])  # errors 0.25, 0, -1, 1


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (L1(), (0.25 + 0 + 1 + 1) / 4),
        (MSE(), (0.0625 + 0 + 1 + 1) / 4),
        # 0.5 e^2 within delta, delta (|e| - delta / 2) beyond.
        (Huber(0.5), (0.03125 + 0 + 0.375 + 0.375) / 4),
        (Huber(2.0), (0.03125 + 0 + 0.5 + 0.5) / 4),
        (Huber(), 0.1 * (0.2 + 0 + 0.95 + 0.95) / 4),
    ],
)
def test_by_hand(loss, expected):
    value = loss(PREDICTION, TRUTH)
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert loss.terms(PREDICTION, TRUTH) == {}


@pytest.mark.parametrize("loss", [L1(), MSE(), Huber()])
def test_half_precision_is_summed_in_fp32(loss):
    prediction = torch.rand(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    low = prediction.bfloat16()
    truth = replace(batch(torch.zeros(2 * 64 * 64)), target=torch.zeros(1, 2, 64, 64))
    value = loss(low, truth)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(low.double(), truth).item(), rel=1e-5)


def test_missing_target_is_refused():
    bare = ColorBatch(TRUTH.L, TRUTH.ab, ["a"])
    with pytest.raises(ValueError, match="target is None"):
        L1()(PREDICTION, bare)


@pytest.mark.parametrize("delta", [0.0, -1.0])
def test_huber_needs_a_positive_delta(delta):
    with pytest.raises(ValueError, match="delta must be above 0"):
        Huber(delta)
