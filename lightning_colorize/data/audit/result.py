"""What an audit found."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lightning_colorize.data.audit.grey import NEAR_GREY
from lightning_colorize.data.audit.groups import Crossing, Group, find_groups
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.images import ImageSet
from lightning_colorize.data.sources import Splits


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        parts: The images of each split, in the order train, val, test.
        images: All of them, one split after the other.
        splits: The number of each one's split, (N,), uint8.
        looks: What was seen of each, (N,) of `LOOK`.
        broken: What is wrong with those that cannot be read, by their number.
        min_side: Pixels of the short side below which an image is tiny.
    """

    parts: Splits
    images: ImageSet
    splits: np.ndarray
    looks: np.ndarray
    broken: dict[int, ImageError]
    min_side: int

    @cached_property
    def near_grey(self) -> np.ndarray:
        """Numbers of the images that have hardly any colour."""
        return np.flatnonzero(self._whole & (self.looks["chroma"] < NEAR_GREY))

    @cached_property
    def tiny(self) -> np.ndarray:
        """Numbers of the images whose short side is below `min_side`."""
        short = np.minimum(self.looks["height"], self.looks["width"])
        return np.flatnonzero(self._whole & (short < self.min_side))

    @cached_property
    def cmyk(self) -> np.ndarray:
        """Numbers of the images in ink, with or without a profile."""
        return np.flatnonzero(self.looks["cmyk"])

    @cached_property
    def unsure_cmyk(self) -> np.ndarray:
        """Numbers of the images in ink of which no profile says what the ink looks like."""
        return np.flatnonzero(self.looks["cmyk"] & ~self.looks["has_profile"])

    @property
    def groups(self) -> list[Group]:
        """The images that are there more than once, those of several splits first."""
        return self._found[0]

    @property
    def crossings(self) -> list[Crossing]:
        """The pairs of two splits that show the same and belong to different groups."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[list[Group], list[Crossing]]:
        faulty = np.zeros(len(self.looks), dtype=bool)
        for indices in (self.near_grey, self.tiny, self.unsure_cmyk):
            faulty[indices] = True
        return find_groups(self.looks, self.splits, faulty)

    @property
    def split_names(self) -> tuple[str, ...]:
        """The names of the splits, in the order of their numbers."""
        return tuple(self.parts)

    @property
    def leaks(self) -> list[Group | Crossing]:
        """What shows the same in more than one split: groups, then pairs across two of them."""
        return [*(group for group in self.groups if group.leaks), *self.crossings]

    def split(self, index: int) -> str:
        """Return the name of an image's split."""
        return self.split_names[int(self.splits[index])]

    @property
    def _whole(self) -> np.ndarray:
        return np.asarray(self.looks["bytes"] > 0)
