from functools import partial

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping
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
def test_the_loss_is_in_the_targets_range(target_range, scale):
    batch = make_batch()
    task = make_cnn(head=head(target_range=target_range))
    task.eval()
    loss = task.training_step(batch, 0)
    expected = ((task(batch.L) - batch.ab) / 110).square().mean() * scale
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_weighted_terms_are_logged_and_add_up():
    task = make_cnn(WeightedSum({"mse": MSE(), "l1": L1()}, {"mse": 10.0, "l1": 0.5}))
    loss = task.training_step(make_batch(), 0)
    logged = task.batch_values
    assert sorted(logged) == ["l1", "loss", "mse"]
    assert logged["loss"] is loss
    total = logged["l1"] + logged["mse"]
    assert loss.item() == pytest.approx(total.item(), rel=1e-6)


@pytest.mark.parametrize("stop", [False, True])
def test_the_last_loss_of_an_epoch_or_run_is_logged(data, stop):
    """Rarely logged as they are, losses are there for callbacks at an epoch's end."""

    class Losses(Callback):
        last = None

        def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
            self.last = outputs["loss"]
            trainer.should_stop = stop and batch_idx == 1

    losses, early = Losses(), EarlyStopping("train/loss", check_on_train_epoch_end=True)
    trainer = make_trainer(max_epochs=1, log_every_n_steps=100, callbacks=[losses, early])
    trainer.fit(make_cnn(), data)
    assert trainer.callback_metrics["train/loss"] == losses.last


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


def test_training_learns_a_constant_color():
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
