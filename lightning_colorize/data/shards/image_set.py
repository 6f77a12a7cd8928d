"""Random access to the images of a split, and prefetching of the next shards."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from torch import Tensor

from lightning_colorize.data.decoding.files import ImageError, decode_image
from lightning_colorize.data.image_set import ImageSet, NameList, Notes
from lightning_colorize.data.order import ShardOrder
from lightning_colorize.data.shards.check import CheckedShards, ShardError
from lightning_colorize.data.shards.layout import OpenShard, tensor_of
from lightning_colorize.data.shards.manifest import PackSettings


class ShardImages(ImageSet):
    """The images of a split in shards, with their names in the order of the shards.

    Images of `window` shards are shuffled together; as many are prefetched. `selected` has the
    sorted indices of the images in use, (N,), to which the notes belong.
    """

    def __init__(
        self,
        shards: CheckedShards,
        names: NameList,
        settings: PackSettings,
        window: int,
        selected: np.ndarray,
        notes: Notes,
    ) -> None:
        self.shards = shards
        self.names = names
        self.encoding = settings.encoding
        self.side = settings.size
        self.window = window
        self.notes = notes
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
        used, needed_at = np.unique(shards, return_index=True)
        order = np.argsort(needed_at)
        used, needed_at = used[order], needed_at[order]
        queue: SimpleQueue[int] = SimpleQueue()
        stopped = threading.Event()
        asked = 0

        def open_shards() -> None:
            while (shard := queue.get()) >= 0 and not stopped.is_set():
                # The error is raised again when an image of the shard is read.
                with suppress(ImageError):
                    self.shards.open(shard)

        def advance(images: int) -> None:
            nonlocal asked
            needed = int(np.searchsorted(needed_at, images, side="right")) + self.window
            for shard in used[asked:needed].tolist():
                queue.put(shard)
            asked = max(asked, needed)

        # A daemon: the process need not wait for an unfinished download when it ends.
        threading.Thread(target=open_shards, name="shard prefetch", daemon=True).start()
        advance(0)
        try:
            yield advance
        finally:
            stopped.set()
            queue.put(-1)  # wakes the thread

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
