"""A split's images, by number: the contract between sources and the data set.

Names of a split are held as one block of bytes with offsets, not as Python strings: with 1.3
million names and forked workers, counting references would copy the pages of every string.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from lightning_colorize.data.decoding.files import read_bytes, read_image
from lightning_colorize.data.order import AnyOrder, EpochOrder


class NameList(Sequence[str]):
    """An immutable list of strings in two arrays.

    Args:
        names: The strings.
    """

    def __init__(self, names: Iterable[str]) -> None:
        block = bytearray()
        offsets = array("q", [0])
        for name in names:
            block += name.encode("utf-8", "surrogateescape")
            offsets.append(len(block))
        self._offsets = np.frombuffer(offsets, dtype=np.int64)
        self._block = np.frombuffer(bytes(block), dtype=np.uint8)

    @classmethod
    def of_lines(cls, block: bytes) -> "NameList":
        """Return the strings of a block in which a NUL ends each, as `lines` gives it."""
        names = cls(())
        values = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(values == 0)
        names._block = values[values != 0]
        names._offsets = np.concatenate([[0], ends - np.arange(len(ends))])
        return names

    def lines(self) -> bytes:
        """Return all in one block, a NUL after each: a byte that no file's name holds."""
        return b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in self)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        index = range(len(self))[index]
        start, stop = self._offsets[index], self._offsets[index + 1]
        return self._block[start:stop].tobytes().decode("utf-8", "surrogateescape")


class ImageSet(ABC):
    """The images of one split.

    Attributes:
        weights: Relative frequency of each image in training, (N,), or None for all alike.
        order: In which order an epoch reads them quickest.
        side: Pixels to which the short sides of larger images were brought; None for originals.
    """

    weights: np.ndarray | None = None
    order: EpochOrder = AnyOrder()
    side: int | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the image's name, unique in its source and stable between runs."""

    @abstractmethod
    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the image: (3, H, W), uint8, sRGB.

        Args:
            index: Which one.
            min_side: The short side may be decoded smaller than the file's, but not below this.

        Raises:
            ImageError: If the file cannot be read as an image.
        """

    def encoded(self, index: int) -> bytes | None:
        """Return the image as its file has it, for decoding elsewhere; None: only `read` will do.

        Raises:
            ImageError: If the file cannot be read.
        """
        return None

    @contextmanager
    def expecting(self, coming: Callable[[], np.ndarray]) -> Iterator[Callable[[int], None]]:
        """Hear which images are read within the context, so that they can be brought near.

        Args:
            coming: Returns their numbers in order; called only where that is of use.

        Yields:
            A function to be called with how many of them have been read.
        """
        yield lambda read: None


class FileImages(ImageSet):
    """Image files of one folder.

    Args:
        root: The folder.
        names: File names relative to it, with forward slashes.
        weights: Relative frequency of each image in training, (N,), or None for all alike.
        prefix: Put before the names that are reported, where several folders are mixed.
    """

    def __init__(
        self,
        root: Path,
        names: Iterable[str],
        weights: np.ndarray | None = None,
        prefix: str = "",
    ) -> None:
        self.root = root
        self.names = NameList(names)
        self.weights = weights
        self.prefix = prefix

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the file's name relative to the folder."""
        return self.prefix + self.names[index]

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the image: (3, H, W), uint8, sRGB."""
        return read_image(self.root / self.names[index], min_side=min_side)

    def encoded(self, index: int) -> bytes | None:
        """Return the file's bytes."""
        return read_bytes(self.root / self.names[index])


class ConcatImages(ImageSet):
    """The images of several sets, one set after the other.

    Args:
        parts: The sets, none of them empty, with names that do not clash.
        shares: How often an image is drawn from each set, relative to the others and whatever
            the sets' sizes; within a set, its own weights hold. None: no weights.
    """

    def __init__(self, parts: Sequence[ImageSet], shares: Sequence[float] | None = None) -> None:
        self.parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])
        if shares is not None:
            self.weights = np.concatenate(
                [share * _relative(part) for part, share in zip(parts, shares, strict=True)]
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def name(self, index: int) -> str:
        """Return the name that the image has in its own set."""
        part, own = self._find(index)
        return part.name(own)

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the image: (3, H, W), uint8, sRGB."""
        part, own = self._find(index)
        return part.read(own, min_side=min_side)

    def encoded(self, index: int) -> bytes | None:
        """Return the image as its own set has it."""
        part, own = self._find(index)
        return part.encoded(own)

    def _find(self, index: int) -> tuple[ImageSet, int]:
        index = range(len(self))[index]
        which = int(np.searchsorted(self._ends, index, side="right"))
        part = self.parts[which]
        return part, index - int(self._ends[which]) + len(part)


def _relative(images: ImageSet) -> np.ndarray:
    """Return the set's weights, adding up to 1."""
    if images.weights is None:
        return np.full(len(images), 1 / len(images))
    relative: np.ndarray = images.weights / images.weights.sum()
    return relative
