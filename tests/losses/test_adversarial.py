import math
from pathlib import Path

import pytest
import torch
import yaml

from lightning_colorize.losses import LSGAN, AdversarialLoss, BCEAdversarial, Hinge

FRAGMENTS = sorted((Path(__file__).parents[2] / "experiments/adversarial_loss").glob("*.yaml"))
LOSSES = AdversarialLoss.__subclasses__()

# sigmoid(log 3) = 3/4, so the probabilities of real are 3/4, 1/4, 1/2 and 3/4.
LOG3 = math.log(3)
LOGITS = torch.tensor([LOG3, -LOG3, 0.0, LOG3]).view(1, 1, 2, 2)
LOG4 = math.log(4)

REAL = (2 * -math.log(3 / 4) + LOG4 + math.log(2)) / 4
FAKE = (2 * LOG4 - math.log(3 / 4) + math.log(2)) / 4


SIMPLE = torch.tensor([2.0, 0.5, -0.5, -3.0]).view(1, 1, 2, 2)
SQUARES = (1 + 0.25 + 2.25 + 16) / 4


@pytest.mark.parametrize(
    ("loss", "logits", "real", "fake", "generator", "chance"),
    [
        (BCEAdversarial(), LOGITS, REAL, FAKE, REAL, LOG4),
        # Real labels are 0.8; the generator still aims at 1.
        (BCEAdversarial(0.2), LOGITS, 0.8 * REAL + 0.2 * FAKE, FAKE, REAL, LOG4),
        (LSGAN(), SIMPLE, SQUARES, (4 + 0.25 + 0.25 + 9) / 4, SQUARES, 0.5),
        (Hinge(), SIMPLE, (0 + 0.5 + 1.5 + 4) / 4, (3 + 1.5 + 0.5 + 0) / 4, 0.25, 2.0),
    ],
)
def test_by_hand(loss, logits, real, fake, generator, chance):
    assert loss(logits, real=True).item() == pytest.approx(real, rel=1e-6)
    assert loss(logits, real=False).item() == pytest.approx(fake, rel=1e-6)
    assert loss.generator(logits).item() == pytest.approx(generator, rel=1e-6)
    assert loss.chance() == pytest.approx(chance)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_ignore_autocast(loss):
    loss = loss()
    logits = torch.randn(4, 1, 30, 30, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        low = [loss(logits, real=True), loss(logits, real=False), loss.generator(logits)]
    exact = logits.double()
    full = [loss(exact, real=True), loss(exact, real=False), loss.generator(exact)]
    for ours, theirs in zip(low, full, strict=True):
        assert (ours.dtype, theirs.dtype) == (torch.float32, torch.float64)
        assert ours.shape == ()
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [-0.1, 0.5, 1.0])
def test_label_smoothing_of_one_half_or_more_is_refused(smoothing):
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 0\.5\), not"):
        BCEAdversarial(smoothing)


def test_every_loss_has_a_fragment():
    named = [yaml.safe_load(path.read_text())["class_path"].rsplit(".", 1)[1] for path in FRAGMENTS]
    assert sorted(named) == sorted(loss.__name__ for loss in LOSSES)
