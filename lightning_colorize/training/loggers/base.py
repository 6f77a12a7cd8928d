"""A run's loggers extend Lightning's: they log images and have a final close."""

from argparse import Namespace
from typing import Any

from pytorch_lightning.loggers import Logger

from lightning_colorize.runs.images import ImageArray


class RunLogger(Logger):
    """A logger that also logs images."""

    description: str = ""  # for the banner; empty: not shown

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
