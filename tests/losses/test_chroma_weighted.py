import pytest
import torch

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses import L1, MSE, ChromaWeighted


def batch_of(a, b, target):
    ab = torch.tensor([a, b]).view(1, 2, 1, -1)
    return ColorBatch(torch.zeros_like(ab[:, :1]), ab, ["x"], torch.as_tensor(target).view_as(ab))


# Chromas 0, 50, 20; with an offset of 10 weights 10, 60, 30 over their mean 100 / 3.
TRUTH = batch_of([0.0, 30.0, 0.0], [0.0, 40.0, -20.0], [0.0] * 6)
PREDICTION = torch.tensor([0.1, 0.2, 0.3, -0.1, 0.0, 0.0]).view(1, 2, 1, 3)


@pytest.mark.parametrize(
    ("squared", "expected"),
    [
        (False, (0.3 * 0.1 + 1.8 * 0.2 + 0.9 * 0.3 + 0.3 * 0.1) / 6),
        (True, (0.3 * 0.01 + 1.8 * 0.04 + 0.9 * 0.09 + 0.3 * 0.01) / 6),
    ],
)
def test_by_hand(squared, expected):
    loss = ChromaWeighted(offset=10.0, squared=squared)
    assert loss(PREDICTION, TRUTH).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("squared", "plain"), [(False, L1()), (True, MSE())])
def test_equals_the_plain_loss_for_equal_errors_or_one_chroma(squared, plain):
    loss = ChromaWeighted(squared=squared)
    same_error = torch.full_like(PREDICTION, 0.3)
    torch.testing.assert_close(loss(same_error, TRUTH), plain(same_error, TRUTH))
    grey = batch_of([0.0] * 3, [0.0] * 3, [0.0] * 6)
    torch.testing.assert_close(loss(PREDICTION, grey), plain(PREDICTION, grey))


@pytest.mark.parametrize("offset", [0.0, -1.0])
def test_the_offset_is_positive(offset):
    with pytest.raises(ValueError, match="offset must be above 0"):
        ChromaWeighted(offset)
