"""Builds the loggers of a run, and logs images to all of them."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lightning_colorize.common.processes import is_first_process
from lightning_colorize.runs.folder import WANDB
from lightning_colorize.runs.images import ImageArray
from lightning_colorize.training.loggers.base import RunLogger
from lightning_colorize.training.loggers.files import RunFiles, TensorBoardRun
from lightning_colorize.training.loggers.mlflow_run import MLflowRun
from lightning_colorize.training.loggers.wandb_mode import WandbMode, wandb_mode
from lightning_colorize.training.loggers.wandb_run import WandbRun
from lightning_colorize.training.options import LoggerOptions


def build_loggers(
    folder: Path, options: LoggerOptions, resume_step: int | None = None
) -> list[Logger]:
    """Return the loggers of a run, all of which write into its folder.

    Spends up to 5 s on determining the mode of W&B. Entries from the step `resume_step` on are
    dropped, because these steps are trained again: it is the `global_step` of the checkpoint.
    """
    loggers: list[Logger] = [RunFiles(folder, options.csv, resume_step)]
    if options.tensorboard:
        loggers.append(TensorBoardRun(folder, resume_step))
    # Only rank 0 has a W&B run; the other ranks need no check, nor W&B if it is disabled.
    checks = is_first_process() or options.wandb == "disabled"
    mode = wandb_mode(options.wandb) if checks else WandbMode("offline")
    if mode.mode != "disabled":
        if is_first_process():
            _import_wandb(folder.absolute() / WANDB)
        loggers.append(WandbRun(folder, options, mode, resume_step))
    if options.mlflow is not None:
        loggers.append(MLflowRun(folder, options, resume_step))
    return loggers


def _import_wandb(folder: Path) -> None:
    """Import W&B with its temporary folders here: those of killed runs stay in the system's."""
    for left in folder.glob("tmp*wandb-*"):
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        import wandb  # noqa: F401
    finally:
        tempfile.tempdir = before


def describe_loggers(loggers: Sequence[Logger]) -> str:
    """Return the loggers and their modes in one line, for the banner."""
    # Not by `hasattr`: Lightning's logger of `fast_dev_run` has every attribute.
    names = [x.description if isinstance(x, RunLogger) else type(x).__name__ for x in loggers]
    return ", ".join(filter(None, names)) or "none"


def log_images(loggers: Sequence[Logger], name: str, image: Tensor, step: int) -> None:
    """Log an image to W&B, TensorBoard and `<run>/images/<name>_<step>.png`.

    The image is (3, H, W), uint8, sRGB in 0..255; its name is like a metric's: `val/grid`. Loggers
    of other packages are skipped.
    """
    pixels = as_image(image)
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.add_image(name, pixels, step)


def as_image(image: Tensor) -> ImageArray:
    """Return an image, (3, H, W), uint8, on any device, as (H, W, 3) on the CPU."""
    return np.ascontiguousarray(image.movedim(0, -1).cpu().numpy())


def close_loggers(loggers: Sequence[Logger], *, failed: bool = False) -> None:
    """Write pending entries and finish the W&B run, after the last fit or test."""
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.close(failed)
