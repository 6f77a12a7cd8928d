"""GAN losses against values computed by hand."""

import pytest
import torch
from torch import nn

from lightning_colorize.losses import L1, LSGAN, MSE, BCEAdversarial, Hinge, WeightedSum
from lightning_colorize.networks import Discriminator
from tests.tasks.conftest import STILL, make_gan, paint, train

# Both are exact in bf16.
REAL, FAKE = 0.75, -0.5

# log(1 + e^-0.75) + log(1 + e^-0.5), and so on; the generator's loss takes FAKE as real.
LOSSES = {
    "cross-entropy": (BCEAdversarial, 0.3868713 + 0.4740770, 0.9740770),
    "least squares": (LSGAN, 0.25**2 + 0.5**2, 1.5**2),
    "hinge": (Hinge, 0.25 + 0.5, 0.5),
}


class FixedLogits(Discriminator):
    """Returns one logit for true colors and another for a single color, in autocast's precision."""

    smallest = 1

    def __init__(self, real=REAL, fake=FAKE):
        super().__init__()
        self.logits = real, fake
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, L, ab):
        one_color = (ab == ab[:, :, :1, :1]).all()
        logits = self.logits[int(one_color)] + self.offset + 0 * ab[:, :1]
        return logits.bfloat16() if torch.is_autocast_enabled("cpu") else logits


def make_fixed_gan(*, real=REAL, fake=FAKE, **options):
    task = make_gan(
        discriminator=FixedLogits(real, fake),
        generator_optimizer=STILL,
        discriminator_optimizer=STILL,
        **options,
    )
    paint(task.net, 30.0, -20.0)
    return task


def first_batch(task, data, **options):
    history = train(task, data, max_steps=1, **options)
    return history.batches[0], history.logged[0]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_by_hand(data, loss, precision):
    adversarial, discriminator, generator = LOSSES[loss]
    task = make_fixed_gan(loss=adversarial(), loss_weight=7.0)
    if precision == "bf16-mixed":
        # tanh is in fp32, so this color is exact too.
        task.net.head.conv.bias.data.copy_(torch.tensor([0.25, -0.125]))
    a, b = 110 * task.net.head.conv.bias.detach().tanh()
    batch, logged = first_batch(task, data, precision=precision)
    l1 = ((batch.ab[:, 0] - a).abs().mean() + (batch.ab[:, 1] - b).abs().mean()).item() / 220
    assert logged["train/content"] == pytest.approx(l1, rel=1e-5)
    assert logged["train/d_loss"] == pytest.approx(discriminator, rel=1e-6)
    assert logged["train/g_adversarial"] == pytest.approx(generator, rel=1e-6)
    assert logged["train/loss"] == pytest.approx(generator + 7.0 * l1, rel=1e-5)


def test_any_content_loss(data):
    loss = WeightedSum({"l1": L1(), "mse": MSE()}, {"l1": 2.0, "mse": 3.0})
    task = make_fixed_gan(loss_weight=0.5, content=loss)
    batch, logged = first_batch(task, data)
    error = (batch.ab - torch.tensor([30.0, -20.0]).view(1, 2, 1, 1)) / 110
    l1, mse = 2 * error.abs().mean().item(), 3 * error.square().mean().item()
    assert logged["train/l1"] == pytest.approx(l1, rel=1e-4)
    assert logged["train/mse"] == pytest.approx(mse, rel=1e-4)
    assert logged["train/content"] == pytest.approx(l1 + mse, rel=1e-4)
    expected = LOSSES["cross-entropy"][2] + 0.5 * (l1 + mse)
    assert logged["train/loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "real", "fake", "accuracy", "scores"),
    [
        (BCEAdversarial, 0.75, -0.5, 1.0, (0.6791787, 0.3775407)),
        (BCEAdversarial, 0.75, 0.5, 0.5, (0.6791787, 0.6224593)),
        (LSGAN, 0.75, 0.25, 1.0, (0.75, 0.25)),
        (Hinge, 0.75, 0.25, 0.5, (0.75, 0.25)),
    ],
)
def test_accuracy_and_scores_of_the_discriminator(data, loss, real, fake, accuracy, scores):
    _, logged = first_batch(make_fixed_gan(loss=loss(), real=real, fake=fake), data)
    assert logged["train/d_accuracy"] == accuracy
    means = logged["train/d_real"], logged["train/d_fake"]
    assert means == pytest.approx(scores, rel=1e-6)
