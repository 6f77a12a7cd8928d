"""Callbacks of a run. Configurations and programs of your own may use those in `__all__`."""

from lightning_colorize.training.callbacks.baselines import BaselineMetrics
from lightning_colorize.training.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from lightning_colorize.training.callbacks.gan_health import GANHealth
from lightning_colorize.training.callbacks.images import ImageGrids, PredictFolder
from lightning_colorize.training.callbacks.stopping import FinalValidation
from lightning_colorize.training.callbacks.terminal import Banner
from lightning_colorize.training.callbacks.tf32 import TF32
from lightning_colorize.training.callbacks.throughput import Throughput

__all__ = [
    "TF32",
    "Banner",
    "BaselineMetrics",
    "BestCheckpoint",
    "FinalValidation",
    "GANHealth",
    "ImageGrids",
    "LastCheckpoint",
    "PredictFolder",
    "Throughput",
]
