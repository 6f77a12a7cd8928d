"""The order of an epoch: which image comes when, and which of several processes reads it."""

from abc import ABC, abstractmethod
from itertools import pairwise

import numpy as np


class EpochOrder(ABC):
    """How a set's images are shuffled, and dealt to the ranks.

    Attributes:
        by_ranks: Whether another number of ranks gives another order.
    """

    by_ranks = False

    @abstractmethod
    def shuffled(self, random: np.random.Generator, length: int, ranks: int) -> np.ndarray:
        """Return a training epoch of all ranks: the numbers 0 to `length` - 1, (length,), int64."""

    @abstractmethod
    def part(self, length: int, rank: int, ranks: int) -> slice:
        """Return which places of an epoch are one rank's; parts differ by one image at most."""

    @abstractmethod
    def kept(self, indices: np.ndarray) -> "EpochOrder":
        """Return the order of the set that only these images make, in rising order."""


class AnyOrder(EpochOrder):
    """Any image is as quick to read as any other, so all are shuffled.

    Each rank takes every ranks-th, so that the batches of all ranks together are the same images
    whatever the number of ranks.
    """

    def shuffled(self, random: np.random.Generator, length: int, ranks: int) -> np.ndarray:
        """Return a permutation."""
        order: np.ndarray = random.permutation(length)
        return order

    def part(self, length: int, rank: int, ranks: int) -> slice:
        """Return every ranks-th place."""
        return slice(rank, None, ranks)

    def kept(self, indices: np.ndarray) -> EpochOrder:
        """Return the same order."""
        return self


class ShardOrder(EpochOrder):
    """Images lie in shards, and a shard is read as a whole before the next one is wanted.

    The shards are shuffled and dealt to the ranks in parts of equal length, one after the other:
    a rank reads its own part only (and shares one shard at each border). Within its part, the
    images of several shards in a row are shuffled among each other.

    Args:
        lengths: Images of each shard, (S,); those of a shard have numbers in a row.
        window: Shards that are shuffled among each other.
    """

    by_ranks = True

    def __init__(self, lengths: np.ndarray, window: int) -> None:
        self.lengths = lengths
        self.window = window

    def shuffled(self, random: np.random.Generator, length: int, ranks: int) -> np.ndarray:
        """Return the shards in a random order, shuffled within windows."""
        shards = random.permutation(len(self.lengths))
        lengths = self.lengths[shards]
        ends = np.cumsum(lengths)
        starts = (np.cumsum(self.lengths) - self.lengths)[shards]
        order: np.ndarray = np.arange(length) + np.repeat(starts - (ends - lengths), lengths)
        for rank in range(ranks):
            mine = self.part(length, rank, ranks)
            inner = ends[(ends > mine.start) & (ends < mine.stop)]
            borders = inner[self.window - 1 :: self.window]
            for start, stop in pairwise([mine.start, *borders, mine.stop]):
                random.shuffle(order[start:stop])
        return order

    def part(self, length: int, rank: int, ranks: int) -> slice:
        """Return places in a row."""
        return slice(rank * length // ranks, (rank + 1) * length // ranks)

    def kept(self, indices: np.ndarray) -> EpochOrder:
        """Return the order of the shards without the images that are missing."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        return ShardOrder(np.diff(np.searchsorted(indices, ends)), self.window)
