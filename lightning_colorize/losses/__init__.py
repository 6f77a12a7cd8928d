"""What a prediction costs: one loss a file, `Loss(prediction, batch) -> scalar`."""

from lightning_colorize.losses.base import Loss
from lightning_colorize.losses.pixel import L1, MSE, Huber
from lightning_colorize.losses.weighted_sum import WeightedSum

__all__ = ["L1", "MSE", "Huber", "Loss", "WeightedSum"]
