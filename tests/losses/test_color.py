"""Losses of colors that look at RGB: colorfulness and the gamut."""

import pytest
import torch

from lightning_colorize.color import AB_SCALE, to_rgb
from lightning_colorize.losses import Colorfulness, OutOfGamut
from lightning_colorize.metrics import per_image
from tests.losses.conftest import batch_of, smooth_images


def row_of(L):
    """Return a grey image of one row."""
    L = torch.as_tensor(L).view(1, 1, 1, -1)
    return batch_of(L, torch.zeros(1, 2, 1, L.shape[-1]))


@pytest.fixture
def batch():
    return batch_of(*smooth_images(seed=3))


def test_colorfulness_is_the_shortfall_of_the_metric(batch):
    pale = batch.ab * torch.tensor([0.3, 0.6]).view(2, 1, 1, 1)
    found, true = (per_image(batch.L, ab, batch.ab)["colorfulness"] for ab in (pale, batch.ab))
    for loss, cap in ((Colorfulness(), true), (Colorfulness(cap=90.0), 90)):
        expected = (cap - found).mean().item() / 100
        assert loss(pale / AB_SCALE, batch).item() == pytest.approx(expected, rel=1e-4)


def test_more_than_the_cap_is_not_rewarded(batch):
    prediction = (batch.ab * 1.5 / AB_SCALE).requires_grad_()
    loss = Colorfulness()(prediction, batch)
    loss.backward()
    assert loss.item() == 0
    assert not prediction.grad.any()
    assert Colorfulness(cap=10.0)(batch.ab / AB_SCALE, batch).item() == 0


def test_out_of_gamut_by_hand():
    batch = row_of([50.0, 50.0])
    ab = torch.tensor([[0.0, 110.0], [0.0, -110.0]]).view(1, 2, 1, 2)
    rgb = to_rgb(batch.L, ab, clip=False)[0, :, 0, 1]
    expected = sum(max(-x, 0) + max(x - 1, 0) for x in rgb.tolist()) / 6
    assert expected > 0.1
    assert OutOfGamut()(ab / AB_SCALE, batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("path", ["own", "kornia"])
def test_dark_yellows_have_a_gradient_too(path, monkeypatch):
    """Their Z would be negative and is clamped to 0."""
    monkeypatch.setattr("lightning_colorize.color.lab.kornia_converts", lambda _: path == "kornia")
    ab = torch.tensor([0.0, 110.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 3) / AB_SCALE
    OutOfGamut()(ab.requires_grad_(), row_of([1.0, 10.0, 30.0])).backward()
    assert (ab.grad[0, 1] > 0.01).all()
