"""Losses on predictions and adversarial losses on logits, one per file."""

from lightning_colorize.losses.adversarial.base import AdversarialLoss
from lightning_colorize.losses.adversarial.bce import BCEAdversarial
from lightning_colorize.losses.adversarial.hinge import Hinge
from lightning_colorize.losses.adversarial.lsgan import LSGAN
from lightning_colorize.losses.base import Loss
from lightning_colorize.losses.chroma_weighted import ChromaWeighted
from lightning_colorize.losses.colorfulness import Colorfulness
from lightning_colorize.losses.cross_entropy import CrossEntropy
from lightning_colorize.losses.gradient import Gradient
from lightning_colorize.losses.huber import Huber
from lightning_colorize.losses.l1 import L1
from lightning_colorize.losses.mse import MSE
from lightning_colorize.losses.out_of_gamut import OutOfGamut
from lightning_colorize.losses.perceptual import Perceptual
from lightning_colorize.losses.weighted_sum import WeightedSum

__all__ = [
    "L1",
    "LSGAN",
    "MSE",
    "AdversarialLoss",
    "BCEAdversarial",
    "ChromaWeighted",
    "Colorfulness",
    "CrossEntropy",
    "Gradient",
    "Hinge",
    "Huber",
    "Loss",
    "OutOfGamut",
    "Perceptual",
    "WeightedSum",
]
