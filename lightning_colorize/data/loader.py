"""A DataLoader whose order, position and randomness follow from (seed, epoch, batch, rank).

Lightning saves the position of a loader that has `state_dict`, but no state of the random number
generators. So nothing here is carried over from batch to batch: the order of an epoch is drawn from
(seed, epoch), a picture's crop from (seed, epoch, place in the epoch), and before a batch is handed
over, the generator from which device-side augmentation and dropout draw is seeded with
(seed, epoch, batch, rank). A run that is resumed in mid-epoch then repeats the undisturbed one
bit for bit, with any number of workers.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from lightning_colorize.color import RawBatch
from lightning_colorize.data.broken import BrokenPictures, TooManyBroken
from lightning_colorize.data.dataset import PictureDataset, collate
from lightning_colorize.errors import UsageError

Key = tuple[int, int]
"""A picture's index and the number drawn for this delivery, in [0, 2**32)."""


class EpochBatches(Sampler[list[Key]]):
    """The keys of one rank's batches, for the epoch and from the position that are set.

    The global batch `b` of an epoch is the same set of pictures whatever the number of ranks with
    `batch_size * ranks` kept equal; each rank takes every ranks-th of it.

    Args:
        length: Pictures in the set.
        batch_size: Pictures in a batch of one rank.
        shuffle: A new order each epoch, without the last incomplete batch (unless it is the only
            one); else the set's order, every picture once, ranks of unequal length.
        weights: Relative frequencies, (length,): an epoch is then drawn with replacement.
        seed: Of order and draws.
        rank: This process's number.
        ranks: Number of processes.

    Attributes:
        epoch: Number of the epoch that the next iteration gives.
        position: Number of the batch that it begins with.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        shuffle: bool,
        weights: np.ndarray | None = None,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.probabilities = None if weights is None else weights / weights.sum()
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        self.epoch = 0
        self.position = 0

    def __len__(self) -> int:
        if self.shuffle:
            return max(1, self.length // (self.batch_size * self.ranks))
        mine = len(range(self.rank, self.length, self.ranks))
        return -(-mine // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        random = np.random.default_rng((self.seed, self.epoch))
        if not self.shuffle:
            order = np.arange(self.length)
        elif self.probabilities is None:
            order = random.permutation(self.length)
        else:
            order = random.choice(self.length, size=self.length, p=self.probabilities)
        draws = random.integers(0, 2**32, size=self.length)
        order, draws = order[self.rank :: self.ranks], draws[self.rank :: self.ranks]
        for batch in range(self.position, len(self)):
            piece = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield list(zip(order[piece].tolist(), draws[piece].tolist(), strict=True))


class PictureLoader(DataLoader[Any]):
    """Batches of uint8 pictures; its position is part of Lightning's checkpoints.

    Args:
        dataset: The pictures.
        batches: Which of them, in which order.
        broken: Told of the pictures that could not be read.
        seed_batches: Seed torch's generator before each batch is handed over (training).
        options: Of torch's DataLoader: num_workers, pin_memory, persistent_workers, ...
    """

    def __init__(
        self,
        dataset: PictureDataset,
        batches: EpochBatches,
        broken: BrokenPictures,
        seed_batches: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(dataset, batch_sampler=batches, collate_fn=collate, **options)
        self.batches = batches
        self.broken = broken
        self.seed_batches = seed_batches
        self._position = 0
        self._resumed = False

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, how many of its batches were handed over, and of how many pictures."""
        return {
            "epoch": self.batches.epoch,
            "position": self._position,
            "batch_size": self.batches.batch_size * self.batches.ranks,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a saved position at the next iteration.

        Raises:
            UsageError: If it is in the midst of an epoch of batches of another size.
        """
        size = self.batches.batch_size * self.batches.ranks
        if state["batch_size"] != size and 0 < state["position"] < len(self):
            raise UsageError(
                f"the run stopped in the midst of an epoch of batches of {state['batch_size']} "
                f"pictures, not {size}: resume it with that many over all processes"
            )
        self.batches.epoch = state["epoch"]
        self._position = state["position"]
        self._resumed = True

    def end_epoch(self) -> None:
        """Make the next iteration a new epoch, also after a resume from here."""
        self._position = len(self)

    def __iter__(self) -> Iterator[RawBatch]:  # type: ignore[override]
        if self._position >= len(self) or (self._position and not self._resumed):
            # The last iteration ended, or was left early: this one is the next epoch.
            self.batches.epoch += 1
            self._position = 0
        self._resumed = False
        self.batches.position = self._position
        nothing = True
        for raw, broken in super().__iter__():
            self.broken.add(broken, TooManyBroken)
            self._position += 1
            if not len(raw.rgb):
                continue
            nothing = False
            if self.seed_batches:
                self._seed_batch()
            yield raw
        if nothing and self.broken.max_share < 1:
            raise TooManyBroken("none of the pictures at hand can be read")

    def _seed_batch(self) -> None:
        b = self.batches
        key = np.random.SeedSequence((b.seed, b.epoch, self._position, b.rank))
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))
