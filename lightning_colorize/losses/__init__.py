"""Losses of predictions, and adversarial losses of logits: one per file."""

from lightning_colorize.losses.adversarial.base import AdversarialLoss
from lightning_colorize.losses.adversarial.bce import BCEAdversarial
from lightning_colorize.losses.adversarial.hinge import Hinge
from lightning_colorize.losses.adversarial.lsgan import LSGAN
from lightning_colorize.losses.base import Loss
from lightning_colorize.losses.cross_entropy import CrossEntropy
from lightning_colorize.losses.huber import Huber
from lightning_colorize.losses.l1 import L1
from lightning_colorize.losses.mse import MSE
from lightning_colorize.losses.weighted_sum import WeightedSum

__all__ = [
    "L1",
    "LSGAN",
    "MSE",
    "AdversarialLoss",
    "BCEAdversarial",
    "CrossEntropy",
    "Hinge",
    "Huber",
    "Loss",
    "WeightedSum",
]
