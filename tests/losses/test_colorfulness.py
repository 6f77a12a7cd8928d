from dataclasses import replace

import pytest
import torch

from lightning_colorize.color import AB_SCALE, ColorBatch
from lightning_colorize.losses import Colorfulness
from lightning_colorize.metrics import per_image
from tests.losses.conftest import smooth_images


@pytest.fixture
def batch():
    L, ab = smooth_images(seed=3)
    return ColorBatch(L, ab, ["a", "b"], ab / AB_SCALE, lambda x: x * AB_SCALE)


def metric(batch, ab):
    return per_image(batch.L, ab, batch.ab)["colorfulness"]


def test_is_the_shortfall_of_the_metric(batch):
    pale = batch.ab * torch.tensor([0.3, 0.6]).view(2, 1, 1, 1)
    shortfall = metric(batch, batch.ab) - metric(batch, pale)
    value = Colorfulness()(pale / AB_SCALE, batch)
    assert value.item() == pytest.approx(shortfall.mean().item() / 100, rel=1e-4)
    value = Colorfulness(cap=90.0)(pale / AB_SCALE, batch)
    assert value.item() == pytest.approx((90 - metric(batch, pale)).mean().item() / 100, rel=1e-4)


def test_more_than_the_cap_is_not_rewarded(batch):
    prediction = (batch.ab * 1.5 / AB_SCALE).requires_grad_()
    loss = Colorfulness()(prediction, batch)
    loss.backward()
    assert loss.item() == 0
    assert not prediction.grad.any()
    assert Colorfulness(cap=10.0)(batch.ab / AB_SCALE, batch).item() == 0


def test_each_image_has_its_own_cap(batch):
    """A vivid image does not make up for a pale one."""
    mixed = batch.ab * torch.tensor([0.0, 2.0]).view(2, 1, 1, 1)
    alone = replace(batch, L=batch.L[:1], ab=batch.ab[:1])
    expected = Colorfulness()(mixed[:1] / AB_SCALE, alone) / 2
    torch.testing.assert_close(Colorfulness()(mixed / AB_SCALE, batch), expected)


def test_almost_grey_images_have_a_gradient(batch):
    noise = torch.randn(batch.ab.shape, generator=torch.Generator().manual_seed(0))
    prediction = (noise * 1e-3).requires_grad_()
    Colorfulness()(prediction, batch).backward()
    assert prediction.grad.abs().sum() > 0.1
