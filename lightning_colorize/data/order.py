"""The order of an epoch: shuffling, and the share of each process."""

from itertools import pairwise

import numpy as np


class AnyOrder:
    """Shuffles all images, for sets with fast random access.

    Each rank takes every ranks-th image. The batches of all ranks together are then the same images
    for any number of ranks.
    """

    by_ranks = False  # whether the order depends on the number of ranks

    def shuffled(self, random: np.random.Generator, length: int, ranks: int) -> np.ndarray:
        """Return a permutation of 0 to `length` - 1 for all ranks: (length,), int64."""
        order: np.ndarray = random.permutation(length)
        return order

    def part(self, length: int, rank: int, ranks: int) -> slice:
        """Return one rank's slice of an epoch. Slices differ by one image at most."""
        return slice(rank, None, ranks)

    def subset(self, indices: np.ndarray) -> "AnyOrder":
        """Return the order of a subset of the images, given in rising order."""
        return self


class ShardOrder(AnyOrder):
    """Shuffles shards, then images within a window of shards, so that shards are read in sequence.

    The shuffled shards are divided among the ranks in contiguous parts of equal length. A rank
    reads its own part only, and shares one shard at each border. `lengths`, (S,), has the number of
    images in each shard; the images of a shard have consecutive indices.
    """

    by_ranks = True

    def __init__(self, lengths: np.ndarray, window: int) -> None:
        self.lengths = lengths
        self.window = window

    def shuffled(self, random: np.random.Generator, length: int, ranks: int) -> np.ndarray:
        """Return images of randomly ordered shards, shuffled within windows."""
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
        """Return contiguous positions."""
        return slice(rank * length // ranks, (rank + 1) * length // ranks)

    def subset(self, indices: np.ndarray) -> AnyOrder:
        """Return the order of the shards with the other images removed."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        return ShardOrder(np.diff(np.searchsorted(indices, ends)), self.window)
