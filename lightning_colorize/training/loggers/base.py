"""A run's loggers extend Lightning's: they log images and have a final close."""

import logging
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.loggers import Logger

from lightning_colorize.common.errors import first_line
from lightning_colorize.runs.folder import (
    BEST,
    CONFIG,
    LAST,
    METRICS,
    MLFLOW_ID,
    RESULT,
    THROUGHPUT,
    VALIDATIONS,
    WANDB_ID,
)
from lightning_colorize.runs.images import ImageArray

RUN_FILES = (CONFIG, RESULT, METRICS, THROUGHPUT, VALIDATIONS, WANDB_ID, MLFLOW_ID, BEST, LAST)
"""Files of a run folder from which `resume` continues on another machine."""

STEP = "trainer/global_step"
"""Metric with the step itself; Lightning's WandbLogger logs it under this name."""

_log = logging.getLogger(__name__)


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

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn the errors of a server into one warning, so that training continues."""
        try:
            yield
        except Exception as error:
            if not self.warned:
                name = self.description.partition(" ")[0]
                _log.warning("%s: logging failed, the run continues (%s)", name, first_line(error))
            self.warned = True
