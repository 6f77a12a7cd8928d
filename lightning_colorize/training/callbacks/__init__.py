"""Callbacks of a run: checkpoints, result, image grids, baselines, banner, progress."""

from lightning_colorize.training.callbacks.banner import Banner
from lightning_colorize.training.callbacks.baselines import BaselineMetrics
from lightning_colorize.training.callbacks.best_checkpoint import BestCheckpoint, SmoothedMonitor
from lightning_colorize.training.callbacks.checkpoint_file import (
    AtomicCheckpointIO,
    with_atomic_checkpoints,
)
from lightning_colorize.training.callbacks.config import SaveConfig
from lightning_colorize.training.callbacks.early_stop import EarlyStop, forget_early_stop
from lightning_colorize.training.callbacks.finite import FiniteTraining, TrainingDiverged
from lightning_colorize.training.callbacks.gan_health import GANHealth
from lightning_colorize.training.callbacks.grids import ImageGrids
from lightning_colorize.training.callbacks.interrupt import GracefulStop, RunInterrupted
from lightning_colorize.training.callbacks.last_checkpoint import LastCheckpoint
from lightning_colorize.training.callbacks.predict_folder import PredictFolder
from lightning_colorize.training.callbacks.progress import on_terminal, progress_callbacks
from lightning_colorize.training.callbacks.result import ResultWriter
from lightning_colorize.training.callbacks.shared_folder import SharedFolder
from lightning_colorize.training.callbacks.tf32 import TF32
from lightning_colorize.training.callbacks.throughput import Throughput
from lightning_colorize.training.callbacks.validations import FinalValidation, Validations

__all__ = [
    "TF32",
    "AtomicCheckpointIO",
    "Banner",
    "BaselineMetrics",
    "BestCheckpoint",
    "EarlyStop",
    "FinalValidation",
    "FiniteTraining",
    "GANHealth",
    "GracefulStop",
    "ImageGrids",
    "LastCheckpoint",
    "PredictFolder",
    "ResultWriter",
    "RunInterrupted",
    "SaveConfig",
    "SharedFolder",
    "SmoothedMonitor",
    "Throughput",
    "TrainingDiverged",
    "Validations",
    "forget_early_stop",
    "on_terminal",
    "progress_callbacks",
    "with_atomic_checkpoints",
]
