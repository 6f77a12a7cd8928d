"""scikit-image's color photographs: training data without any download."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from skimage import data as bundled
from torch import Tensor

from lightning_colorize.data.image_set import ImageSet, NameList
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits

PHOTOGRAPHS: dict[str, Callable[[], np.ndarray]] = {
    "astronaut": bundled.astronaut,
    "chelsea": bundled.chelsea,
    "coffee": bundled.coffee,
    "motorcycle_left": lambda: bundled.stereo_motorcycle()[0],  # type: ignore[no-untyped-call]
    "rocket": bundled.rocket,
}
"""Functions that return (H, W, 3), uint8; only one of the stereo pair, which shows one scene."""

# Height and width in pixels of a training window and of a validation square.
_WINDOW, _SQUARE = 112, 96


class Region(NamedTuple):
    """A rectangle of a photograph, in pixels."""

    photograph: str
    top: int
    left: int
    height: int
    width: int


class RegionImages(ImageSet):
    """Rectangles of photographs in memory, with names such as `coffee/96x96+152+85`."""

    def __init__(self, photographs: dict[str, Tensor], regions: list[Region]) -> None:
        self.photographs = photographs
        self.regions = regions
        self.names = NameList(
            f"{r.photograph}/{r.width}x{r.height}+{r.left}+{r.top}" for r in regions
        )

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return a copy of the region: (3, H, W), uint8, sRGB."""
        photograph, top, left, height, width = self.regions[index]
        rows, columns = slice(top, top + height), slice(left, left + width)
        return self.photographs[photograph][:, rows, columns].clone(
            memory_format=torch.contiguous_format
        )


class EmbeddedSource(Source):
    """scikit-image's five color photographs, split by region. Needs no folder and no network.

    One photograph is the test split, whole and unseen. Each of the others has two validation
    squares, centered at one third and two thirds of its height and width. Training images are
    overlapping windows that share no pixel with the validation squares.

    Args:
        held_out: The test photograph: astronaut, chelsea, coffee, motorcycle_left or rocket.
        windows: Number of training windows over all photographs; one epoch reads each once.
    """

    def __init__(self, held_out: str = "chelsea", windows: int = 512) -> None:
        if held_out not in PHOTOGRAPHS:
            listed = ", ".join(PHOTOGRAPHS)
            raise SourceError(f"held_out is '{held_out}': it must be one of {listed}")
        if windows < len(PHOTOGRAPHS) - 1:
            raise SourceError(f"windows is {windows}: it must be at least {len(PHOTOGRAPHS) - 1}")
        self.held_out = held_out
        self.windows = windows

    def splits(self, root: Root | None) -> Splits:
        """Return the windows ("train"), squares ("val") and the held-out photograph ("test").

        Raises:
            SourceError: If `root` is set, or the photographs have no room for so many windows.
        """
        if root is not None:
            raise SourceError(
                f"EmbeddedSource reads scikit-image's photographs, not {root}: leave out "
                "--data.root, or choose FolderSource"
            )
        photographs = {
            name: torch.from_numpy(np.ascontiguousarray(load().transpose(2, 0, 1)))
            for name, load in PHOTOGRAPHS.items()
        }
        height, width = photographs[self.held_out].shape[-2:]
        test = Region(self.held_out, 0, 0, height, width)
        train: list[Region] = []
        val: list[Region] = []
        others = [name for name in photographs if name != self.held_out]
        for index, name in enumerate(others):
            height, width = photographs[name].shape[-2:]
            squares = _squares(name, height, width, falling=index % 2 == 0)
            # If the windows do not divide evenly, the first photographs get one more.
            count = (self.windows + len(others) - 1 - index) // len(others)
            train += _windows(name, height, width, squares, count)
            val += squares
        return {
            split: RegionImages(photographs, regions)
            for split, regions in {"train": train, "val": val, "test": [test]}.items()
        }


def _squares(name: str, height: int, width: int, falling: bool) -> list[Region]:
    """Return two squares on the falling or the rising diagonal."""
    side = _SQUARE
    return [
        Region(name, row * height // 3 - side // 2, column * width // 3 - side // 2, side, side)
        for row, column in zip((1, 2), (1, 2) if falling else (2, 1), strict=True)
    ]


def _windows(name: str, height: int, width: int, avoided: list[Region], count: int) -> list[Region]:
    """Draw windows that share no pixel with the regions to avoid, always the same ones."""
    side = _WINDOW
    free = np.ones((height - side + 1, width - side + 1), dtype=bool)
    for region in avoided:
        rows = slice(max(0, region.top - side + 1), region.top + region.height)
        columns = slice(max(0, region.left - side + 1), region.left + region.width)
        free[rows, columns] = False
    corners = np.flatnonzero(free)
    if len(corners) < count:
        raise SourceError(f"{name} has room for {len(corners):,} windows, {count:,} are needed")
    drawn = np.random.default_rng(0).choice(corners, size=count, replace=False)
    return [
        Region(name, int(corner) // free.shape[1], int(corner) % free.shape[1], side, side)
        for corner in drawn
    ]
