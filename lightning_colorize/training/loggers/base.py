"""A run's loggers extend Lightning's: they log images and have a final close."""

import logging
import os
from argparse import Namespace
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.common.errors import first_line
from lightning_colorize.runs import folder
from lightning_colorize.runs.images import ImageArray

RUN_FILES = (
    *(folder.CONFIG, folder.RESULT, folder.METRICS, folder.THROUGHPUT, folder.VALIDATIONS),
    *(folder.WANDB_ID, folder.MLFLOW_ID, folder.BEST, folder.LAST),
)
"""Files of a run folder from which `resume` continues on another machine."""

STEP = "trainer/global_step"
"""Metric with the step itself; Lightning's WandbLogger logs it under this name."""

_LONGEST_NAME = 128  # W&B refuses longer ones

_log = logging.getLogger(__name__)


def name_of(run: Path) -> str:
    """Return the name of a run for loggers: its folder's, and of a trial its swept values."""
    return ": ".join(filter(None, (run.name, os.environ.get(folder.VALUES))))[:_LONGEST_NAME]


class RunLogger(Logger):
    """A logger that also logs images."""

    description: str = ""  # for the banner; empty: not shown
    warned = False  # an error was reported

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Log the configuration, given with dotted names."""

    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Log an image, (H, W, 3) uint8."""

    def close(self, failed: bool) -> None:
        """Write pending entries; nothing is logged afterwards.

        Lightning calls `finalize` after each fit and test, which is too early.
        """


def guarded(log: Callable[..., None]) -> Callable[..., None]:
    """Call a logger's method on rank 0; turn errors of its server into one warning for all."""

    @rank_zero_only
    @wraps(log)
    def call(logger: RunLogger, *args: Any, **kwargs: Any) -> None:
        try:
            log(logger, *args, **kwargs)
        except Exception as error:
            if not logger.warned:
                name = logger.description.partition(" ")[0]
                _log.warning("%s: logging failed, the run continues (%s)", name, first_line(error))
            logger.warned = True

    return call
