"""A resumable loader: order, position and randomness follow from (seed, epoch, batch, rank).

Lightning saves the position of a loader that has a `state_dict`, but no state of random number
generators. So no random state is carried from batch to batch. The order of an epoch is drawn from
(seed, epoch), an image's crop from (seed, epoch, position in the epoch), and the generator of
device-side augmentation and dropout is seeded with (seed, epoch, batch, rank) before each batch. A
run resumed in mid-epoch then repeats the uninterrupted run bit for bit, with any number of workers.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from lightning_colorize.color import Condition, RawBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.corrupt import CorruptImages, TooManyCorrupt
from lightning_colorize.data.dataset import ImageDataset, Shipped
from lightning_colorize.data.order import AnyOrder
from lightning_colorize.data.workers import end_workers_at_exit, init_worker

Key = tuple[int, int]
"""An image's index and the number drawn for this delivery, in [0, 2**32)."""


Receive = Callable[[Iterator[Any]], Iterator[Shipped]]
"""Turns the batches of the data set's `collate` into pixels."""


@dataclass(eq=False)
class EpochBatches(Sampler[list[Key]]):
    """Batch sampler of one rank, from a given epoch and position.

    With `AnyOrder`, the global batch `b` of an epoch is the same set of images for any number of
    ranks with the same `batch_size * ranks`; each rank takes every ranks-th image of it. All ranks
    have the same number of batches in a shuffled epoch.

    `shuffle`: a new order each epoch, without the last incomplete batch (unless it is the only
    one). Otherwise the set's order, every image once, and ranks of unequal length. `weights`,
    (length,), are relative frequencies: an epoch is drawn with replacement. The next iteration
    starts in `epoch` at batch `position`.
    """

    length: int
    batch_size: int
    _: KW_ONLY
    shuffle: bool
    weights: np.ndarray | None = None
    order: AnyOrder = field(default_factory=AnyOrder)
    seed: int = 0
    rank: int = 0
    ranks: int = 1
    epoch: int = field(default=0, init=False)
    position: int = field(default=0, init=False)

    def __len__(self) -> int:
        if self.shuffle:
            return max(1, self.length // (self.batch_size * self.ranks))
        mine = len(range(self.length)[self._part])
        return -(-mine // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        order, draws = self._drawn()
        for batch in range(self.position, len(self)):
            piece = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield list(zip(order[piece].tolist(), draws[piece].tolist(), strict=True))

    def coming(self) -> np.ndarray:
        """Return the indices from the position to the end of the epoch: (n,), int64."""
        return self._drawn()[0][self.position * self.batch_size : len(self) * self.batch_size]

    def _drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """Return this rank's image indices of the epoch, and a random number for each."""
        random = np.random.default_rng((self.seed, self.epoch))
        if not self.shuffle:
            order = np.arange(self.length)
        elif self.weights is None:
            order = self.order.shuffled(random, self.length, self.ranks)
        else:
            shares = self.weights / self.weights.sum()
            order = random.choice(self.length, size=self.length, p=shares)
        draws = random.integers(0, 2**32, size=self.length)
        return order[self._part], draws[self._part]

    @property
    def _part(self) -> slice:
        return self.order.part(self.length, self.rank, self.ranks)


class ImageLoader:
    """Batches of uint8 images; its position is part of Lightning's checkpoints.

    It wraps a torch DataLoader instead of subclassing it: Lightning replaces the sampler of a
    DataLoader with several processes and in `predict`, but `EpochBatches` is per rank already.

    Args:
        dataset: The images.
        batches: Their order.
        corrupt: Collects the images that cannot be read.
        seed_batches: Seed torch's generator before each batch, for training.
        receive: Turns the batches of the data set's `collate` into pixels.
        label_names: Class names; labels are indices into them.
        device_type: Type of the device that waits for the batches.
        options: Options of the DataLoader.

    Attributes:
        asked: When the latest batch was requested, by `time.perf_counter`.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batches: EpochBatches,
        corrupt: CorruptImages,
        seed_batches: bool = False,
        receive: Receive = iter,
        label_names: Sequence[str] = (),
        device_type: str = "cpu",
        **options: Any,
    ) -> None:
        self.dataset = dataset
        self.batches = batches
        self.corrupt = corrupt
        self.num_workers: int = options.get("num_workers", 0)
        self.seed_batches = seed_batches
        self.asked = self._waited = 0.0
        self._on_gpu = device_type == "cuda"
        self._waits: deque[tuple[Any, Any]] = deque()
        self.options = options
        self._reader: DataLoader[Any] | None = None
        self._running: Generator[RawBatch] | None = None
        self._receive = receive
        self._codes = {name: code for code, name in enumerate(label_names)}
        self._position = 0
        self._resumed = False
        self._accelerator = torch.get_device_module() if torch.accelerator.is_available() else None

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def waited(self) -> float:
        """Total waiting time in seconds; on a GPU, the time in which it was idle meanwhile."""
        while self._waits and (not self._on_gpu or self._waits[0][1].query()):
            asked, received = self._waits.popleft()
            idle = asked.elapsed_time(received) / 1e3 if self._on_gpu else received - asked
            self._waited += idle
        return self._waited

    def close(self) -> None:
        """End the worker processes, which persist from epoch to epoch."""
        # torch ends them when nothing refers to the DataLoader and its iterator any more.
        if self._running is not None:
            self._running.close()
        self._running = self._reader = None

    def state_dict(self) -> dict[str, int]:
        """Return epoch and position, and the sizes that must match at resume."""
        return {
            "epoch": self.batches.epoch,
            "position": self._position,
            "batches": len(self),
            "batch_size": self.batches.batch_size * self.batches.ranks,
            "ranks": self.batches.ranks,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume from a saved position at the next iteration.

        Raises:
            UsageError: If the position is in mid-epoch, and the size or number of batches differs,
                or the number of ranks with an order that depends on it.
        """
        needed = {"batch_size": "images in a batch over all processes", "batches": "batches"}
        if self.batches.order.by_ranks:
            needed["ranks"] = "processes that share the shards"
        here = self.state_dict()
        for name, what in needed.items():
            if 0 < state["position"] < state["batches"] and state[name] != here[name]:
                raise UsageError(
                    f"the run stopped in the midst of an epoch with {state[name]:,} {what}, not "
                    f"{here[name]:,}: resume it with the same images, batch size and processes"
                )
        self.batches.epoch = state["epoch"]
        # An epoch that ended stays ended, even if more images would make it longer now.
        ended = state["position"] >= state["batches"]
        self._position = len(self) if ended else state["position"]
        self._resumed = True

    def end_epoch(self) -> None:
        """Start a new epoch at the next iteration, also after a resume."""
        self._position = len(self)

    def __iter__(self) -> Iterator[RawBatch]:
        self._running = self._epoch()
        return self._running

    def _epoch(self) -> Generator[RawBatch]:
        """Yield the batches of an epoch, or its rest after a resume."""
        if self._position >= len(self) or (self._position and not self._resumed):
            # The last iteration ended or was abandoned: start the next epoch.
            self.batches.epoch += 1
            self._position = 0
        self._resumed = False
        self.batches.position = self._position
        empty = True
        images = self.dataset.images
        for shipped in self._awaited():
            self.corrupt.add(shipped.corrupt, TooManyCorrupt)
            self._position += 1
            if not shipped.indices:
                continue
            empty = False
            if self.seed_batches:
                key = (self.batches.seed, self.batches.epoch, self._position, self.batches.rank)
                state = np.random.SeedSequence(key).generate_state(1, np.uint64)
                self._seed(int(state[0] >> 1))
            names = [images.name(index) for index in shipped.indices]
            yield RawBatch(shipped.rgb, names, self._condition(shipped.indices))
        if empty and self.corrupt.max_share < 1:
            raise TooManyCorrupt("none of the images can be read")

    def _seed(self, number: int) -> None:
        # torch.manual_seed takes a millisecond: it queues the seed for all kinds of devices.
        torch.default_generator.manual_seed(number)
        if self._accelerator is not None:
            self._accelerator.manual_seed(number)

    def _condition(self, indices: list[int]) -> Condition:
        labels, texts = self.dataset.images.notes
        codes = None
        if labels is not None and self._codes:
            codes = torch.tensor([self._codes.get(labels[index], -1) for index in indices])
            codes = codes.pin_memory() if self._on_gpu else codes
        return Condition(codes, None if texts is None else [texts[index] for index in indices])

    def _awaited(self) -> Iterator[Shipped]:
        """Yield the batches and record the time spent waiting for them."""
        self.asked, asked = time.perf_counter(), self._now()
        if self._reader is None:
            self._reader = DataLoader(
                self.dataset,
                batch_sampler=self.batches,
                collate_fn=self.dataset.collate,
                worker_init_fn=init_worker,
                persistent_workers=self.num_workers > 0,
                **self.options,
            )
            if self.num_workers:
                end_workers_at_exit()
        # This starts the workers, which counts as waiting, before a thread prefetches.
        batches = self._receive(iter(self._reader))
        with self.dataset.images.expecting(self.batches.coming) as advance:
            for number, batch in enumerate(batches, 1):
                self._waits.append((asked, self._now()))
                _ = self.waited  # so that few events are kept
                advance(number * self.batches.batch_size)
                yield batch
                self.asked, asked = time.perf_counter(), self._now()

    def _now(self) -> Any:
        """Return the time; on a GPU an event that it reaches after the work queued so far."""
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event
