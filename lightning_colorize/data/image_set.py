"""Image sets: the interface between sources and the data set.

The names of a split are one block of bytes with offsets, not Python strings. With 1.3 million
strings, reference counting in forked workers would copy the memory pages of all of them.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from lightning_colorize.data.decoding.files import decode_image, read_bytes
from lightning_colorize.data.order import AnyOrder


class NameList(Sequence[str]):
    """An immutable list of strings in two arrays."""

    def __init__(self, names: Iterable[str]) -> None:
        block = bytearray()
        offsets = array("q", [0])
        for name in names:
            block += name.encode("utf-8", "surrogateescape")
            offsets.append(len(block))
        self._offsets = np.frombuffer(offsets, dtype=np.int64)
        self._block = np.frombuffer(bytes(block), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        index = range(len(self))[index]
        start, stop = self._offsets[index], self._offsets[index + 1]
        return self._block[start:stop].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        block = self._block.tobytes()
        for start, stop in pairwise(self._offsets.tolist()):
            yield block[start:stop].decode("utf-8", "surrogateescape")


class Notes(NamedTuple):
    """Class names and texts of a set's images, "" for none; None if the set has no such list."""

    labels: NameList | None = None
    texts: NameList | None = None

    def take(self, indices: Sequence[int] | np.ndarray) -> "Notes":
        """Return the notes of the given images."""
        return Notes(*(own and NameList(own[int(i)] for i in indices) for own in self))


_NO_NOTES = Notes()


class ImageSet:
    """The images of one split: by default, encoded files with names in memory.

    Attributes:
        names: Name of each image, unique in its source and stable between runs.
        weights: Relative sampling frequency in training, (N,), or None for uniform sampling.
        order: How an epoch is shuffled.
        side: Short side in pixels to which larger images were reduced; None for originals.
        notes: Labels and texts.
    """

    names: NameList
    weights: np.ndarray | None = None
    order = AnyOrder()
    side: int | None = None
    notes: Notes = _NO_NOTES

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the name of an image."""
        return self.names[index]

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the image: (3, H, W), uint8, sRGB.

        Args:
            index: Index of the image.
            min_side: The image may be decoded at a lower resolution, with at least this short side.

        Raises:
            ImageError: If the file cannot be read as an image.
        """
        data = self.encoded(index)
        assert data is not None, "a set without encoded files overrides `read`"
        return decode_image(data, Path(*(self.file(index) or (self.name(index),))), min_side)

    def encoded(self, index: int) -> bytes | None:
        """Return the encoded file, or None if only `read` is supported.

        Raises:
            ImageError: If the file cannot be read.
        """
        return None

    def file(self, index: int) -> tuple[Path, str] | None:
        """Return the folder and the relative name of the image's own file, if it has one."""
        return None

    @contextmanager
    def expecting(self, coming: Callable[[], np.ndarray]) -> Iterator[Callable[[int], None]]:
        """Announce which images are read within the context, so that they can be prefetched.

        Args:
            coming: Returns their indices in order; called only if the set prefetches.

        Yields:
            A function to call with the number of images read so far.
        """
        yield lambda read: None


class FileImages(ImageSet):
    """Image files of one folder.

    Args:
        root: The folder.
        names: File names relative to it, with forward slashes.
        weights: Relative sampling frequency in training, (N,), or None for uniform sampling.
        prefix: Prefix of the reported names, for mixtures of folders.
        notes: Labels and texts.
    """

    def __init__(
        self,
        root: Path,
        names: Iterable[str],
        weights: np.ndarray | None = None,
        prefix: str = "",
        notes: Notes = _NO_NOTES,
    ) -> None:
        self.root = root
        self.names = NameList(names)
        self.weights = weights
        self.prefix = prefix
        self.notes = notes

    def name(self, index: int) -> str:
        """Return the file's name relative to the folder, after the prefix."""
        return self.prefix + self.names[index]

    def encoded(self, index: int) -> bytes | None:
        """Return the file's bytes."""
        return read_bytes(self.root / self.names[index])

    def file(self, index: int) -> tuple[Path, str]:
        """Return the folder and the file's name."""
        return self.root, self.names[index]


class _Delegating(ImageSet):
    """Images that belong to other sets."""

    def _find(self, index: int) -> tuple[ImageSet, int]:
        """Return an image's own set and its index there."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """Return the name of an image in its own set."""
        images, own = self._find(index)
        return images.name(own)

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the image: (3, H, W), uint8, sRGB."""
        images, own = self._find(index)
        return images.read(own, min_side)

    def encoded(self, index: int) -> bytes | None:
        """Return the encoded file from its own set."""
        images, own = self._find(index)
        return images.encoded(own)

    def file(self, index: int) -> tuple[Path, str] | None:
        """Return the file of its own set."""
        images, own = self._find(index)
        return images.file(own)


class ChosenImages(_Delegating):
    """Some images of a set, by their indices, which may repeat."""

    def __init__(self, images: ImageSet, indices: Sequence[int] | np.ndarray) -> None:
        self.images = images
        self.indices = np.asarray(indices, dtype=np.int64)
        self.side = images.side
        self.notes = images.notes.take(self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def _find(self, index: int) -> tuple[ImageSet, int]:
        return self.images, int(self.indices[index])

    @contextmanager
    def expecting(self, coming: Callable[[], np.ndarray]) -> Iterator[Callable[[int], None]]:
        """Announce images of the whole set."""
        with self.images.expecting(lambda: self.indices[coming()]) as advance:
            yield advance


def sampled(images: ImageSet, limit: int | None) -> ImageSet:
    """Return at most `limit` images (None: as many as there are), drawn from the whole set.

    Each image occurs in proportion to its weight. Without weights, none occurs twice.
    """
    count = len(images) if limit is None else min(limit, len(images))
    if images.weights is not None:
        ends = np.cumsum(images.weights / images.weights.sum())
        quantiles = (np.arange(count) + 0.5) / max(1, count)
        return ChosenImages(images, np.searchsorted(ends, quantiles, side="right"))
    if count == len(images):
        return images
    order = images.order.shuffled(np.random.default_rng(0), len(images), 1)
    return ChosenImages(images, order[:count])


class ConcatImages(_Delegating):
    """Concatenation of several image sets, none of them empty, with distinct names.

    `shares` are the relative sampling frequencies of the sets, independent of their sizes.
    """

    def __init__(self, parts: Sequence[ImageSet], shares: Sequence[float] | None = None) -> None:
        self.parts = list(parts)
        lengths = [len(part) for part in parts]
        self._ends = np.cumsum(lengths)
        self.notes = Notes(
            *(_joined(parts, own) for own in zip(*(p.notes for p in parts), strict=True))
        )
        if shares is not None:
            self.weights = np.repeat(shares * (1 / np.array(lengths)), lengths)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _find(self, index: int) -> tuple[ImageSet, int]:
        index = range(len(self))[index]
        which = int(np.searchsorted(self._ends, index, side="right"))
        part = self.parts[which]
        return part, index - int(self._ends[which]) + len(part)


def _joined(parts: Sequence[ImageSet], notes: Sequence[NameList | None]) -> NameList | None:
    """Return the notes of all parts; "" for the images of a part without."""
    if not any(notes):
        return None
    each = (own or repeat("", len(part)) for part, own in zip(parts, notes, strict=True))
    return NameList(note for own in each for note in own)
