"""The images of a split, read from shards at random."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lightning_colorize.data.decoding.files import ImageError, decode_image
from lightning_colorize.data.images import ImageSet, NameList
from lightning_colorize.data.order import ShardOrder
from lightning_colorize.data.shards.check import CheckedShards
from lightning_colorize.data.shards.layout import OpenShard, tensor_of
from lightning_colorize.data.shards.manifest import Encoding
from lightning_colorize.data.shards.prefetch import Ahead, first_uses


class ShardImages(ImageSet):
    """A split's images in shards.

    Args:
        shards: The shards.
        names: The images' names, in the order of the shards.
        encoding: How images are stored.
        side: Pixels of the short side that larger images were brought to.
        window: Shards whose images are shuffled among each other; so many are fetched ahead.
        kept: Numbers of the images that are taken, rising; None for all.
    """

    def __init__(
        self,
        shards: CheckedShards,
        names: NameList,
        encoding: Encoding,
        side: int,
        window: int,
        kept: np.ndarray | None = None,
    ) -> None:
        self.shards = shards
        self.names = names
        self.encoding = encoding
        self.side = side
        self.window = window
        lengths = np.array([shard.images for shard in shards.shards])
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths
        self._kept = kept
        whole = ShardOrder(lengths, window)
        self.order = whole if kept is None else whole.subset(kept)
        self._open = self._opener()

    def __len__(self) -> int:
        return len(self.names) if self._kept is None else len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        # Open files do not travel to a process that is started anew.
        return {name: value for name, value in vars(self).items() if name != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open = self._opener()

    def name(self, index: int) -> str:
        """Return the name that the image had in the folder that was packed."""
        return self.names[self._number(index)]

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the image: (3, H, W), uint8, sRGB."""
        image = self._image(index)
        if self.encoding == "uint8":
            return tensor_of(image)
        return decode_image(image, Path(self.name(index)), min_side)

    def encoded(self, index: int) -> bytes | None:
        """Return the image's JPEG file; None where it is stored decoded."""
        return self._image(index) if self.encoding == "jpeg" else None

    @contextmanager
    def expecting(self, coming: Callable[[], np.ndarray]) -> Iterator[Callable[[int], None]]:
        """Open the shards of the next images in a thread, as far ahead as the window is long."""
        numbers = coming() if self._kept is None else self._kept[coming()]
        used, first = first_uses(np.searchsorted(self._ends, numbers, side="right"))
        ahead = Ahead(self.shards.open, used, first, self.window)
        try:
            yield ahead.read
        finally:
            ahead.stop()

    def _image(self, index: int) -> bytes:
        number = self._number(index)
        shard = int(np.searchsorted(self._ends, number, side="right"))
        opened = self._open(shard)
        try:
            return opened.image(number - int(self._starts[shard]))
        except OSError as error:
            raise ImageError(Path(self.shards.place(shard)), str(error.strerror)) from error

    def _opener(self) -> Callable[[int], OpenShard]:
        # No more than are read by turns: a deleted file takes its room until it is closed.
        return lru_cache(self.window)(self.shards.open)

    def _number(self, index: int) -> int:
        index = range(len(self))[index]
        return index if self._kept is None else int(self._kept[index])
