"""Builds the loggers of a run, and logs to all of them at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from torch import Tensor

from lightning_colorize.common.processes import is_first_process
from lightning_colorize.runs.folder import flatten
from lightning_colorize.training.loggers.base import RunLogger, as_image
from lightning_colorize.training.loggers.files import CsvRun, ImageFiles
from lightning_colorize.training.loggers.tensorboard import TensorBoardRun
from lightning_colorize.training.loggers.wandb_mode import WandbMode, wandb_mode
from lightning_colorize.training.loggers.wandb_run import WandbRun
from lightning_colorize.training.options import LoggerOptions


def build_loggers(
    folder: Path, options: LoggerOptions, resume_step: int | None = None
) -> list[Logger]:
    """Return the loggers of a run, all of which write into its folder.

    Spends up to 5 s on determining the mode of W&B.

    Args:
        folder: The run folder.
        options: Which loggers.
        resume_step: `global_step` of the checkpoint that is resumed. Entries from this step on are
            dropped, because these steps are trained again.
    """
    loggers: list[Logger] = []
    if options.csv:
        loggers.append(CsvRun(folder, resume_step))
    if options.tensorboard:
        loggers.append(TensorBoardRun(folder, resume_step))
    loggers.append(ImageFiles(folder))
    # Only rank 0 has a W&B run; the other ranks need no check.
    mode = wandb_mode(options.wandb) if is_first_process() else WandbMode("offline")
    if mode.mode != "disabled":
        loggers.append(WandbRun(folder, options, mode))
    return loggers


def describe_loggers(loggers: Sequence[Logger]) -> str:
    """Return the loggers and their modes in one line, for the banner."""
    names = [logger.description for logger in loggers if isinstance(logger, RunLogger)]
    return ", ".join(name for name in names if name) or "none"


def log_config(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Log the whole configuration with dotted names.

    Call it once per process; these loggers ignore Lightning's `log_hyperparams`.
    """
    flat = flatten(config)
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.log_config(flat)


def log_images(loggers: Sequence[Logger], name: str, image: Tensor, step: int) -> None:
    """Log an image to W&B, TensorBoard and `<run>/images/<name>_<step>.png`.

    Args:
        loggers: The run's loggers; those of other packages are skipped.
        name: A name like a metric's: `val/grid`.
        image: (3, H, W), uint8, sRGB in 0..255.
        step: `global_step`.

    Raises:
        TypeError: If the image is not uint8.
    """
    pixels = as_image(image)
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.add_image(name, pixels, step)


def close_loggers(loggers: Sequence[Logger], *, failed: bool = False) -> None:
    """Write pending entries and finish the W&B run, after the last fit or test.

    Lightning calls `finalize` after each of them, which is too early.
    """
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.close(failed)
