"""Pictures kept in memory, decoded and resized once: the fastest loader where they fit."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.files import PictureError
from lightning_colorize.data.pictures import PictureSet

# Fewer are read before a bar could be seen.
_BAR_FROM = 500


class CachedPictures(PictureSet):
    """A set's pictures in one block of memory, with the short side at `side`; broken ones left out.

    One block, and no object per picture: forked workers share it without copying a page.

    Args:
        pictures: Read once, in threads (decoding leaves Python's lock free).
        side: Pixels of the short side.

    Attributes:
        broken: What could not be read.
    """

    def __init__(self, pictures: PictureSet, side: int) -> None:
        self.broken: list[PictureError] = []
        indices: list[int] = []
        shapes: list[tuple[int, int]] = []
        blocks: list[Tensor] = []
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
            loaded = threads.map(_load, repeat(pictures), range(len(pictures)), repeat(side))
            bar = track(
                loaded,
                total=len(pictures),
                description="Reading pictures into memory",
                transient=True,
                disable=len(pictures) < _BAR_FROM or not sys.stderr.isatty(),
            )
            for index, result in enumerate(bar):
                if isinstance(result, PictureError):
                    self.broken.append(result)
                    continue
                indices.append(index)
                shapes.append((result.shape[1], result.shape[2]))
                blocks.append(result.flatten())
        self._pictures = pictures
        self._indices = np.array(indices, dtype=np.int64)
        self._shapes = np.array(shapes, dtype=np.int64).reshape(-1, 2)
        self._starts = np.concatenate([[0], np.cumsum(3 * self._shapes.prod(axis=1))])
        self._block = torch.cat(blocks) if blocks else torch.empty(0, dtype=torch.uint8)
        weights = pictures.weights
        self.weights = None if weights is None else weights[self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        """Return the picture's name."""
        return self._pictures.name(int(self._indices[index]))

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the picture at the cached size, a view: (3, h, w), uint8."""
        start, stop = self._starts[index], self._starts[index + 1]
        height, width = self._shapes[index]
        return self._block[start:stop].view(3, height, width)


def _load(pictures: PictureSet, index: int, side: int) -> Tensor | PictureError:
    try:
        return resize_short_side(limit_length(pictures.read(index, side)), side)
    except PictureError as error:
        return error


def fits_in_memory(count: int, side: int, share: float = 0.25) -> bool:
    """Return whether that many pictures take at most a share of the memory.

    Args:
        count: Pictures.
        side: Pixels of their short side; the long side is taken as 1.5 times that.
        share: Of the machine's memory, or of the control group's limit.
    """
    return count * 3 * 1.5 * side**2 <= share * _memory()


def _memory() -> int:
    """Return the bytes of memory that this process may use."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    with suppress(OSError, ValueError):  # No control group, or "max": no limit.
        return min(installed, int(limit.read_text()))
    return installed
