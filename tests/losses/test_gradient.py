import pytest
import torch

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses import L1, Gradient


def batch_of(target):
    return ColorBatch(torch.zeros_like(target[:, :1]), target, ["x"], target)


def test_by_hand():
    # Errors of one channel: [[0, 1, 1], [0, 0, 4]]; of the other: none.
    prediction = torch.zeros(1, 2, 2, 3)
    prediction[0, 0] = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 4.0]])
    across, down = 1 + 0 + 0 + 4, 0 + 1 + 3
    value = Gradient()(prediction, batch_of(torch.zeros(1, 2, 2, 3)))
    assert value.item() == pytest.approx((across + down) / 12)


def test_a_shift_of_the_edge_costs_and_a_constant_error_does_not():
    edge = torch.zeros(1, 2, 8, 8)
    edge[..., 4:] = 0.5
    truth = batch_of(edge)
    assert Gradient()(edge + 0.2, truth).item() == pytest.approx(0, abs=1e-6)
    blurred = torch.nn.functional.avg_pool2d(edge, (1, 3), stride=1, padding=(0, 1))
    far = torch.roll(edge, 2, dims=-1)
    assert Gradient()(blurred, truth) > 0.01
    assert Gradient()(far, truth) > 0.01
    assert L1()(edge + 0.2, truth) > L1()(blurred, truth)


def test_an_image_of_one_pixel_has_no_gradient():
    assert Gradient()(torch.ones(1, 2, 1, 1), batch_of(torch.zeros(1, 2, 1, 1))).item() == 0
