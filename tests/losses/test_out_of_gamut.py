import pytest
import torch

from lightning_colorize.color import AB_SCALE, ColorBatch, to_lab, to_rgb
from lightning_colorize.losses import OutOfGamut


def batch_of(L):
    L = torch.as_tensor(L).view(1, 1, 1, -1)
    ab = torch.zeros(1, 2, 1, L.shape[-1])
    return ColorBatch(L, ab, ["x"], ab, lambda x: x * AB_SCALE)


def test_by_hand():
    batch = batch_of([50.0, 50.0])
    ab = torch.tensor([[0.0, 110.0], [0.0, -110.0]]).view(1, 2, 1, 2)
    rgb = to_rgb(batch.L, ab, clip=False)[0, :, 0, 1]
    expected = sum(max(-x, 0) + max(x - 1, 0) for x in rgb.tolist()) / 6
    assert expected > 0.1
    assert OutOfGamut()(ab / AB_SCALE, batch).item() == pytest.approx(expected, rel=1e-5)


def test_srgb_costs_nothing():
    values = torch.linspace(0, 1, 9)
    rgb = torch.cartesian_prod(values, values, values).T.reshape(1, 3, 1, -1)
    L, ab = to_lab(rgb)
    assert OutOfGamut()(ab / AB_SCALE, batch_of(L.flatten())).item() < 1e-5


def test_descent_leads_back_into_srgb():
    lightness = torch.tensor([1.0, 10.0, 30.0, 60.0, 90.0, 99.0])
    batch = batch_of(lightness.repeat_interleave(4))
    corners = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [0.0, 1.0], [0.0, -1.0]])
    ab = corners.repeat(6, 1).T.reshape(1, 2, 1, 24).clone().requires_grad_()
    optimizer = torch.optim.Adam([ab], lr=0.02)
    losses = []
    for _ in range(300):
        loss = OutOfGamut()(ab, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]


def test_dark_yellows_have_a_gradient_too():
    """Their Z would be negative and is clamped to 0."""
    batch = batch_of([1.0, 10.0, 30.0])
    ab = torch.tensor([0.0, 110.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 3) / AB_SCALE
    OutOfGamut()(ab.requires_grad_(), batch).backward()
    assert (ab.grad[0, 1] > 0.01).all()
