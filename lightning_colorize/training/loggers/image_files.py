"""Images as PNG files in the run folder."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.runs.folder import BEST_IMAGES, IMAGES
from lightning_colorize.training.loggers.base import BestImage, ImageArray, RunLogger


def image_path(folder: Path, name: str, step: int) -> Path:
    """Return where a run's image lies: `val/grid` at step 50 is `images/val_grid_00000050.png`.

    Everything but letters, digits, dots and hyphens becomes an underscore; the step is padded so
    that a file manager shows images in their order.
    """
    return folder / IMAGES / f"{_safe(name)}_{step:08d}.png"


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)


def read_best_images(folder: Path) -> list[BestImage]:
    """Return the images of a run's best epoch, in their order; none where it has none yet."""
    images = []
    for path in sorted((folder / BEST_IMAGES).glob("*.png")):
        with Image.open(path) as file:
            row = np.asarray(file.convert("RGB"))
            images.append(BestImage(file.info["Title"], row, float(file.info["CIEDE2000"])))
    return images


class ImageFiles(RunLogger):
    """Images into `<run>/images/`; metrics are left to the other loggers.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    @property
    def name(self) -> str:
        """The run's name."""
        return self._folder.name

    @property
    def version(self) -> str:
        """Empty: a run folder is one version."""
        return ""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Do nothing."""

    @rank_zero_only
    def add_image(self, name: str, image: ImageArray, step: int, caption: str | None) -> None:
        """Write a PNG file, the caption in its `Description`."""
        path = image_path(self._folder, name, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        info = PngInfo()
        if caption is not None:
            info.add_itxt("Description", caption)
        Image.fromarray(image).save(path, pnginfo=info)

    @rank_zero_only
    def log_best_images(self, images: Sequence[BestImage]) -> None:
        """Write a PNG file each, in place of those that are there.

        Grey, prediction and truth stand side by side; the image's name is in the file's `Title`,
        the mean CIEDE2000 in its `CIEDE2000`.
        """
        folder = self._folder / BEST_IMAGES
        folder.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            info = PngInfo()
            info.add_itxt("Title", image.name)
            info.add_itxt("CIEDE2000", f"{image.ciede2000:.4f}")
            # The end of a long path is what tells images apart; a file's name has its limit.
            path = folder / f"{number:03d}_{_safe(image.name)[-100:]}.png"
            Image.fromarray(image.row).save(path, pnginfo=info)
