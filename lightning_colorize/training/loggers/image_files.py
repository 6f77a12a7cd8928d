"""Images as PNG files in the run folder."""

from collections.abc import Mapping
from typing import Any

from PIL import Image
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.runs.images import ImageArray, image_path
from lightning_colorize.training.loggers.base import FolderLogger


class ImageFiles(FolderLogger):
    """Writes images to `<run>/images/`; ignores metrics."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Do nothing."""

    @rank_zero_only
    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Write a PNG file."""
        path = image_path(self._folder, name, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
