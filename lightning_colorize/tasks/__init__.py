"""LightningModules: they wire networks, losses and metrics, and compute nothing themselves."""

from lightning_colorize.tasks.base import ColorizationTask, ColorizedImages
from lightning_colorize.tasks.cgan import CGANTask
from lightning_colorize.tasks.regression import RegressionTask
from lightning_colorize.tasks.schedule import WarmupCosine

__all__ = ["CGANTask", "ColorizationTask", "ColorizedImages", "RegressionTask", "WarmupCosine"]
