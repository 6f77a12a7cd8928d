"""Losses of predictions, and adversarial losses of logits: one per file."""

from lightning_colorize.losses import adversarial
from lightning_colorize.losses.adversarial import *  # noqa: F403
from lightning_colorize.losses.base import Loss
from lightning_colorize.losses.huber import Huber
from lightning_colorize.losses.l1 import L1
from lightning_colorize.losses.mse import MSE
from lightning_colorize.losses.weighted_sum import WeightedSum

__all__ = ["L1", "MSE", "Huber", "Loss", "WeightedSum"]
__all__ += adversarial.__all__
