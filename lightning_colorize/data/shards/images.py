"""Random access to the images of a split, and prefetching of the next shards."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lightning_colorize.data.decoding.files import ImageError, decode_image
from lightning_colorize.data.images import ImageSet, NameList
from lightning_colorize.data.order import ShardOrder
from lightning_colorize.data.shards.check import CheckedShards, ShardError
from lightning_colorize.data.shards.layout import OpenShard, tensor_of
from lightning_colorize.data.shards.manifest import Encoding


class ShardImages(ImageSet):
    """The images of a split in shards.

    Args:
        shards: The shards.
        names: The images' names, in the order of the shards.
        encoding: How the images are stored.
        side: Pixels of the short side to which larger images were resized.
        window: Number of shards whose images are shuffled together; as many are prefetched.
        selected: Sorted indices of the images in use, (N,).
    """

    def __init__(
        self,
        shards: CheckedShards,
        names: NameList,
        encoding: Encoding,
        side: int,
        window: int,
        selected: np.ndarray,
    ) -> None:
        self.shards = shards
        self.names = names
        self.encoding = encoding
        self.side = side
        self.window = window
        lengths = np.array([shard.images for shard in shards.shards])
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths
        self._selected = selected
        self._used = np.diff(np.searchsorted(selected, [0, *self._ends]))
        self.order = ShardOrder(lengths, window).subset(selected)
        self._open = self._cached_open()

    def __len__(self) -> int:
        return len(self._selected)

    def __getstate__(self) -> dict[str, Any]:
        # Open files cannot be sent to a spawned process.
        return {name: value for name, value in vars(self).items() if name != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open = self._cached_open()

    def name(self, index: int) -> str:
        """Return the name of the image in the folder that was packed."""
        return self.names[int(self._selected[index])]

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the image: (3, H, W), uint8, sRGB."""
        image = self._image(index)
        if self.encoding == "uint8":
            return tensor_of(image)
        return decode_image(image, Path(self.name(index)), min_side)

    def encoded(self, index: int) -> bytes | None:
        """Return the image's JPEG file; None if it is stored decoded."""
        return self._image(index) if self.encoding == "jpeg" else None

    @contextmanager
    def expecting(self, coming: Callable[[], np.ndarray]) -> Iterator[Callable[[int], None]]:
        """Prefetch the shards of the next images in a thread, `window` shards in advance."""
        shards = np.searchsorted(self._ends, self._selected[coming()], side="right")
        used, first = np.unique(shards, return_index=True)
        order = np.argsort(first)
        prefetcher = Prefetcher(self.shards.open, used[order], first[order], self.window)
        try:
            yield prefetcher.advance
        finally:
            prefetcher.stop()

    def _image(self, index: int) -> bytes:
        packed = int(self._selected[index])
        shard = int(np.searchsorted(self._ends, packed, side="right"))
        try:
            opened = self._open(shard)
        except ShardError as error:
            error.leap = int(self._used[shard])  # excluded images are not lost
            raise
        try:
            return opened.image(packed - int(self._starts[shard]))
        except OSError as error:
            raise ImageError(Path(self.shards.locate(shard)), str(error.strerror)) from error

    def _cached_open(self) -> Callable[[int], OpenShard]:
        # A limited number: an evicted file uses disk space until it is closed.
        return lru_cache(self.window)(self.shards.open)


class Prefetcher:
    """Opens shards in a thread before the loader needs them.

    Args:
        open_shard: Opens a shard, which fetches and verifies it.
        shards: The shards in the order of their first use, (S,).
        first: The number of images that are read before each is needed, (S,), rising.
        lead: How many shards are opened in advance.
    """

    def __init__(
        self, open_shard: Callable[[int], object], shards: np.ndarray, first: np.ndarray, lead: int
    ) -> None:
        self._open_shard = open_shard
        self._shards = shards
        self._first = first
        self._lead = lead
        self._needed = 1
        self._stopped = False
        self._changed = threading.Condition()
        # A daemon: the process need not wait for an unfinished download when it ends.
        threading.Thread(target=self._run, name="shard prefetch", daemon=True).start()

    def advance(self, images: int) -> None:
        """Set the number of images that have been read."""
        needed = int(np.searchsorted(self._first, images, side="right"))
        if needed != self._needed:
            with self._changed:
                self._needed = needed
                self._changed.notify()

    def stop(self) -> None:
        """Open no further shard."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        for position, shard in enumerate(self._shards.tolist()):
            with self._changed:
                while not self._stopped and position >= self._needed + self._lead:
                    self._changed.wait()
                if self._stopped:
                    return
            # The error is raised again when an image of the shard is read.
            with suppress(ImageError):
                self._open_shard(shard)
