"""Images cached in memory, decoded and resized once."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import cores
from lightning_colorize.common.progress import progress
from lightning_colorize.data.dataset import CorruptImage, Resize, resize
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.image_set import ImageSet, NameList

# Bytes of a block: some 700 images of 3:2 at 144 px.
_BLOCK = 2**26

# Share of the machine's memory, or of the control group's limit.
_SHARE = 0.25


class CachedImages(ImageSet):
    """An image set decoded in memory, without its `corrupt` images.

    A few large blocks hold all pixels, with no Python object per image: forked workers share them
    without copying pages, and filling them needs no second copy. Images are read once, in threads
    (decoding releases the GIL). `side` is in pixels.
    """

    def __init__(self, images: ImageSet, side: int, mode: Resize = "crop") -> None:
        self.corrupt: list[CorruptImage] = []
        self._blocks: list[Tensor] = []
        indices: list[int] = []
        shapes: list[tuple[int, int]] = []
        locations: list[tuple[int, int]] = []
        free = 0
        with (
            ThreadPoolExecutor(max_workers=cores()) as threads,
            images.expecting(lambda: np.arange(len(images))) as advance,
        ):
            loaded = threads.map(partial(_load, images, side, mode), range(len(images)))
            shown = progress(loaded, len(images), "Reading images into memory")
            for index, result in enumerate(shown):
                advance(index)
                if isinstance(result, ImageError):
                    self.corrupt.append(CorruptImage(images.name(index), result))
                    continue
                size = result.numel()
                if size > free:
                    self._blocks.append(self._block(size, side, len(images) - index))
                    free = len(self._blocks[-1])
                block = self._blocks[-1]
                start = len(block) - free
                block[start : start + size] = result.flatten()
                free -= size
                indices.append(index)
                shapes.append((result.shape[1], result.shape[2]))
                locations.append((len(self._blocks) - 1, start))
        self.names = NameList(map(images.name, indices))
        self._shapes = np.array(shapes, dtype=np.int64).reshape(-1, 2)
        self._locations = np.array(locations, dtype=np.int64).reshape(-1, 2)
        weights = images.weights
        self.weights = None if weights is None else weights[indices]
        self.order = images.order.subset(np.array(indices, dtype=np.int64))
        self.notes = images.notes.take(indices)

    def _block(self, least: int, side: int, left: int) -> Tensor:
        """Allocate at least `least` bytes for the `left` uncached images: (n,), uint8."""
        # The system allocates pages when they are first written.
        return torch.empty(max(_BLOCK, least), dtype=torch.uint8)

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return a view of the image at the cached size: (3, h, w), uint8."""
        block, start = self._locations[index]
        height, width = self._shapes[index]
        stored: Tensor = self._blocks[block][start : start + 3 * height * width]
        return stored.view(3, height, width)


def _load(images: ImageSet, side: int, mode: Resize, index: int) -> Tensor | ImageError:
    try:
        return resize(images.read(index, side), side, mode)
    except ImageError as error:
        return error


def bytes_needed(count: int, side: int) -> float:
    """Return the estimated memory of images, for an aspect ratio of 3:2."""
    return count * 3 * 1.5 * side**2


def fits_in_memory(
    count: int, side: int, taken: float = 0.0, processes: int = 1, share: float = _SHARE
) -> bool:
    """Return whether images fit into this process's part of a share of the memory, by default 25 %.

    `side` is their short side in pixels. Other images use `taken` bytes of that part. Each of the
    `processes` on this machine has its own cache.
    """
    return taken + bytes_needed(count, side) <= share * machine_memory() / processes


def require_memory(count: int, side: int, taken: float, processes: int) -> None:
    """Refuse to cache images that do not fit into all of the memory; arguments as above."""
    if fits_in_memory(count, side, taken, processes, share=1.0):
        return
    each = (taken + bytes_needed(count, side)) / 2**30
    raise UsageError(
        f"--data.cache always needs {each:.3g} GiB per process, {processes * each:.3g} GiB in "
        f"total, and this machine has {machine_memory() / 2**30:.3g} GiB: use auto or never, or "
        "lower --data.size or --trainer.devices"
    )


def machine_memory() -> int:
    """Return the bytes of memory that this process may use."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    with suppress(OSError, ValueError):  # no control group, or "max": no limit
        return min(installed, int(limit.read_text()))
    return installed
