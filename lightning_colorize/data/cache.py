"""Pictures kept in memory, decoded and resized once: the fastest loader where they fit."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_colorize.data.broken import Broken
from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.files import PictureError
from lightning_colorize.data.pictures import PictureSet
from lightning_colorize.processes import cores
from lightning_colorize.progress import progress

# Bytes of a block: some 700 pictures of 3:2 at 144 px.
_BLOCK = 2**26

# Fewer pictures are read before a bar could be seen.
_BAR_FROM = 500

# Of the machine's memory, or of the control group's limit.
_SHARE = 0.25


class CachedPictures(PictureSet):
    """A set's pictures in memory, decoded, with the short side at `side`; broken ones left out.

    In a few large blocks and no object per picture: forked workers share them without copying a
    page, and no second copy is made while they fill.

    Args:
        pictures: Read once, in threads (decoding leaves Python's lock free).
        side: Pixels of the short side.

    Attributes:
        broken: What could not be read.
    """

    def __init__(self, pictures: PictureSet, side: int) -> None:
        self.broken: list[Broken] = []
        self._pictures = pictures
        self._blocks: list[Tensor] = []
        indices: list[int] = []
        shapes: list[tuple[int, int]] = []
        places: list[tuple[int, int]] = []
        free = 0
        with (
            ThreadPoolExecutor(max_workers=cores()) as threads,
            pictures.expecting(lambda: np.arange(len(pictures))) as tell,
        ):
            loaded = threads.map(_load, repeat(pictures), range(len(pictures)), repeat(side))
            doing = "Reading pictures into memory"
            shown = progress(loaded, len(pictures), doing, bar_from=_BAR_FROM)
            for index, result in enumerate(shown):
                tell(index)
                if isinstance(result, PictureError):
                    self.broken.append(Broken(pictures.name(index), result))
                    continue
                size = result.numel()
                if size > free:
                    self._blocks.append(self._block(size, side, len(pictures) - index))
                    free = len(self._blocks[-1])
                block = self._blocks[-1]
                start = len(block) - free
                block[start : start + size] = result.flatten()
                free -= size
                indices.append(index)
                shapes.append((result.shape[1], result.shape[2]))
                places.append((len(self._blocks) - 1, start))
        self._indices = np.array(indices, dtype=np.int64)
        self._shapes = np.array(shapes, dtype=np.int64).reshape(-1, 2)
        self._places = np.array(places, dtype=np.int64).reshape(-1, 2)
        weights = pictures.weights
        self.weights = None if weights is None else weights[self._indices]
        self.order = pictures.order.kept(self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        """Return the picture's name."""
        return self._pictures.name(int(self._indices[index]))

    def _block(self, least: int, side: int, left: int) -> Tensor:
        """Return memory for more pictures: (n,), uint8.

        Args:
            least: Bytes that are needed now.
            side: Pixels of the short side.
            left: Pictures that are still to come, that one included.
        """
        # Memory that is never written to is never taken.
        return torch.empty(max(_BLOCK, least), dtype=torch.uint8)

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the picture at the cached size, a view: (3, h, w), uint8."""
        block, start = self._places[index]
        height, width = self._shapes[index]
        stored: Tensor = self._blocks[block][start : start + 3 * height * width]
        return stored.view(3, height, width)


def _load(pictures: PictureSet, index: int, side: int) -> Tensor | PictureError:
    try:
        return resize_short_side(limit_length(pictures.read(index, side)), side)
    except PictureError as error:
        return error


def bytes_needed(count: int, side: int) -> float:
    """Return what that many pictures take in memory.

    Args:
        count: Pictures.
        side: Pixels of their short side; the long side is taken as 1.5 times that.
    """
    return count * 3 * 1.5 * side**2


def fits_in_memory(count: int, side: int, taken: float = 0.0, processes: int = 1) -> bool:
    """Return whether pictures fit into this process's part of a quarter of the memory.

    Args:
        count: Pictures.
        side: Pixels of their short side.
        taken: Bytes of that part that other pictures take already.
        processes: Processes on this machine, each of which keeps pictures of its own.
    """
    return taken + bytes_needed(count, side) <= _SHARE * machine_memory() / processes


def machine_memory() -> int:
    """Return the bytes of memory that this process may use."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    with suppress(OSError, ValueError):  # No control group, or "max": no limit.
        return min(installed, int(limit.read_text()))
    return installed
