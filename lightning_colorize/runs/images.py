"""The images of a run: the logged images, and the images of its best epoch."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lightning_colorize.runs.folder import BEST_IMAGES, IMAGES

ImageArray = npt.NDArray[np.uint8]
"""(H, W, 3), uint8, sRGB in 0..255."""


class BestImage(NamedTuple):
    """A validation image, colored by the best weights of a run."""

    name: str  # the same in all runs on the same data
    row: ImageArray  # (H, 3 W, 3), uint8: grey, prediction and truth side by side
    ciede2000: float  # mean color difference between prediction and truth


def write_image(folder: Path, name: str, image: ImageArray, step: int) -> None:
    """Write a logged image: `images/val_grid_00000050.png` of `val/grid` at step 50.

    All characters but letters, digits, dots and hyphens become underscores. The step is padded, so
    that images sort by it.
    """
    path = folder / IMAGES / f"{_safe(name)}_{step:08d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)


def write_best_images(folder: Path, images: Sequence[BestImage]) -> None:
    """Write the images of a run's best epoch, replacing the images of earlier epochs.

    One PNG file each: `Title` has the image's name, `CIEDE2000` its mean color difference. W&B logs
    them as a table at the end of the run.
    """
    best = folder / BEST_IMAGES
    best.mkdir(parents=True, exist_ok=True)
    surplus = set(best.glob("*.png"))
    for index, image in enumerate(images):
        info = PngInfo()
        info.add_itxt("Title", image.name)
        info.add_itxt("CIEDE2000", f"{image.ciede2000:.4f}")
        # File names have a limit; the end of a long path is the distinctive part.
        path = best / f"{index:03d}_{_safe(image.name)[-100:]}.png"
        Image.fromarray(image.row).save(path, pnginfo=info)
        surplus.discard(path)
    for path in surplus:
        path.unlink()


def read_best_images(folder: Path) -> list[BestImage]:
    """Return the images of a run's best epoch, in order; an empty list before the first."""
    images = []
    for path in sorted((folder / BEST_IMAGES).glob("*.png")):
        with Image.open(path) as file:
            row = np.asarray(file.convert("RGB"))
            images.append(BestImage(file.info["Title"], row, float(file.info["CIEDE2000"])))
    return images
