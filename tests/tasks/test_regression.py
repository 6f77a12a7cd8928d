from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lightning_colorize.color import ColorBatch, RawBatch, to_lab
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.losses import L1, MSE, WeightedSum
from lightning_colorize.networks import AbHead, ConvEncoder
from lightning_colorize.tasks import RegressionTask
from tests.tasks.conftest import make_cnn, make_gan, make_trainer


def make_batch(size=16):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 4, 4, generator=generator) * 255
    rgb = F.interpolate(coarse, size=(size, size), mode="bilinear").to(torch.uint8)
    return to_color_batch(RawBatch(rgb, list("abcd")))


def head(**options):
    return lambda channels: AbHead(channels, **options)


@pytest.mark.parametrize(("target_range", "scale"), [("-1..1", 1.0), ("0..1", 0.25)])
def test_the_loss_is_in_the_targets_range(target_range, scale, monkeypatch):
    monkeypatch.setattr(RegressionTask, "logs", False)
    batch = make_batch()
    task = make_cnn(head=head(target_range=target_range))
    task.eval()
    loss = task.training_step(batch, 0)
    expected = ((task(batch.L) - batch.ab) / 110).square().mean() * scale
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_weighted_terms_are_logged_and_add_up(monkeypatch):
    monkeypatch.setattr(RegressionTask, "logs", True)
    logged = {}
    task = make_cnn(WeightedSum({"mse": MSE(), "l1": L1()}, {"mse": 10.0, "l1": 0.5}))
    task.log_dict = lambda values, **_: logged.update(values)
    loss = task.training_step(make_batch(), 0)
    assert sorted(logged) == ["train/l1", "train/loss", "train/mse"]
    assert logged["train/loss"] is loss
    total = logged["train/l1"] + logged["train/mse"]
    assert loss.item() == pytest.approx(total.item(), rel=1e-6)


class FixedAb(RegressionTask):
    """Predicts the same ab in any precision: linear functions of L."""

    def validation_step(self, batch, batch_idx):
        self.val_loss.update(batch.L.mean(), len(batch))
        return torch.cat([0.3 * batch.L, 10 - 0.2 * batch.L], dim=1)


def test_metrics_of_the_same_colors_do_not_depend_on_the_precision(data):
    task = FixedAb(ConvEncoder(widths=[4, 8]), MSE())
    metrics = [
        make_trainer(precision=precision).validate(task, data, verbose=False)[0]
        for precision in ("32-true", "bf16-mixed")
    ]
    assert metrics[0]["val/ssim"] < 0.99
    for name in ("mse_ab", "psnr", "ssim", "ciede2000", "colorfulness", "ab_corr"):
        assert metrics[1][f"val/{name}"] == metrics[0][f"val/{name}"], name


@pytest.mark.parametrize("make", [make_cnn, make_gan])
def test_validation_loss_is_a_mean_over_images_not_batches(data, make):
    task = make().eval()
    metrics = make_trainer().validate(task, data, verbose=False)[0]
    batches = list(data.color_batches("val"))
    with torch.no_grad():
        losses = [
            task.loss(task.predict(batch.L), task.with_target(batch)).item() for batch in batches
        ]
    assert [len(batch) for batch in batches] == [4, 1]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    assert metrics["val/loss"] == pytest.approx((4 * losses[0] + losses[1]) / 5, rel=1e-5)


def test_training_learns_a_constant_color(monkeypatch):
    monkeypatch.setattr(RegressionTask, "logs", False)
    # The whole chain of scales and signs: orange images become orange.
    orange = torch.tensor([230, 140, 40], dtype=torch.uint8).view(1, 3, 1, 1).expand(4, 3, 16, 16)
    L, ab = to_lab(orange)
    task = make_cnn(L1(), optimizer=partial(torch.optim.Adam, lr=0.03))
    optimizer = task.configure_optimizers()
    for _ in range(60):
        optimizer.zero_grad()
        task.training_step(ColorBatch(L, ab, list("abcd")), 0).backward()
        optimizer.step()
    predicted = task(L).mean(dim=(0, 2, 3))
    torch.testing.assert_close(predicted, ab.mean(dim=(0, 2, 3)), atol=6.0, rtol=0)
