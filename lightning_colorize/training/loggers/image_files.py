"""Images as PNG files in the run folder."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.runs.images import ImageArray, write_image
from lightning_colorize.training.loggers.base import FolderLogger


class ImageFiles(FolderLogger):
    """Writes images to `<run>/images/`; ignores metrics."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Do nothing."""

    @rank_zero_only
    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Write a PNG file."""
        write_image(self._folder, name, image, step)
