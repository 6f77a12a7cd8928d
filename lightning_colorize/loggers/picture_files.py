"""Pictures as PNG files in the run folder."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.loggers.base import Picture, RunLogger
from lightning_colorize.run_folder import IMAGES


def picture_path(folder: Path, name: str, step: int) -> Path:
    """Return where a run's picture lies: `val/grid` at step 50 is `images/val_grid_00000050.png`.

    Everything but letters, digits, dots and hyphens becomes an underscore; the step is padded so
    that a file manager shows pictures in their order.
    """
    safe = re.sub(r"[^\w.-]+", "_", name)
    return folder / IMAGES / f"{safe}_{step:08d}.png"


class PictureFiles(RunLogger):
    """Pictures into `<run>/images/`; metrics are left to the other loggers.

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
    def log_picture(self, name: str, picture: Picture, step: int, caption: str | None) -> None:
        """Write a PNG file, the caption in its `Description`."""
        path = picture_path(self._folder, name, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        info = PngInfo()
        if caption is not None:
            info.add_itxt("Description", caption)
        Image.fromarray(picture).save(path, pnginfo=info)
