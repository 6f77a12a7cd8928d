"""Losses on predictions and adversarial losses on logits."""

from lightning_colorize.losses.adversarial import LSGAN, AdversarialLoss, BCEAdversarial, Hinge
from lightning_colorize.losses.base import Loss
from lightning_colorize.losses.color import Colorfulness, OutOfGamut
from lightning_colorize.losses.cross_entropy import CrossEntropy
from lightning_colorize.losses.perceptual import Perceptual
from lightning_colorize.losses.pixel import L1, MSE, ChromaWeighted, Gradient, Huber
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
