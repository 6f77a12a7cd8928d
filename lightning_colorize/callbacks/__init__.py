"""What a run leaves and says beside its weights: grids, baselines, result, banner, progress."""

from lightning_colorize.callbacks.banner import Banner
from lightning_colorize.callbacks.baselines import BaselineMetrics
from lightning_colorize.callbacks.best_checkpoint import BestCheckpoint
from lightning_colorize.callbacks.checkpoint_file import WholeCheckpoints, with_whole_checkpoints
from lightning_colorize.callbacks.config import SaveConfig
from lightning_colorize.callbacks.cost import Cost
from lightning_colorize.callbacks.final_validation import FinalValidation
from lightning_colorize.callbacks.gan_health import GANHealth
from lightning_colorize.callbacks.grids import PictureGrids
from lightning_colorize.callbacks.interrupt import GracefulStop, RunInterrupted
from lightning_colorize.callbacks.last_checkpoint import LastCheckpoint
from lightning_colorize.callbacks.predict_folder import PredictFolder
from lightning_colorize.callbacks.progress import LineProgress, on_terminal, progress_callbacks
from lightning_colorize.callbacks.result import RunResult
from lightning_colorize.callbacks.shared_folder import SharedFolder
from lightning_colorize.callbacks.tf32 import TF32
from lightning_colorize.callbacks.validations import Validations

__all__ = [
    "TF32",
    "Banner",
    "BaselineMetrics",
    "BestCheckpoint",
    "Cost",
    "FinalValidation",
    "GANHealth",
    "GracefulStop",
    "LastCheckpoint",
    "LineProgress",
    "PictureGrids",
    "PredictFolder",
    "RunInterrupted",
    "RunResult",
    "SaveConfig",
    "SharedFolder",
    "Validations",
    "WholeCheckpoints",
    "on_terminal",
    "progress_callbacks",
    "with_whole_checkpoints",
]
