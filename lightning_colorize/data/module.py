"""The one data module: uint8 from the loader, (L, ab) on the device."""

import os
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule

from lightning_colorize.color import ColorBatch, RawBatch
from lightning_colorize.data.augmentation import Augmentation
from lightning_colorize.data.broken import BrokenPictures
from lightning_colorize.data.cache import CachedPictures, bytes_needed, fits_in_memory
from lightning_colorize.data.checks import require, require_least, require_range, require_share
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.dataset import PictureDataset
from lightning_colorize.data.loader import EpochBatches, PictureLoader
from lightning_colorize.data.pictures import PictureSet
from lightning_colorize.data.sources import EmbeddedSource, FolderSource, Source, SourceError
from lightning_colorize.data.sources.base import Splits
from lightning_colorize.processes import cores

Split = Literal["train", "val", "test"]

# Training pictures are read this much larger than what is cropped from them.
_MARGIN = 1.125


class ColorizationDataModule(LightningDataModule):
    """Photographs of any source, as (L, ab) on the device.

    The loader ships uint8 RGB; flips, crops and the conversion to LAB happen on the device, in fp32
    whatever the precision of training.

    Args:
        root: The folder with photographs (or what the source takes); without it the photographs
            that scikit-image brings along are used.
        source: How the photographs are found and split; a folder by default.
        size: Height and width of the pictures in pixels.
        batch_size: Pictures in a batch of one process.
        flip: Training: probability of a mirror image.
        crop_scale: Training: area of the random crop as a share of the picture's, from and to; null
            to resize without cropping.
        crop_ratio: Training: width over height of the random crop, from and to.
        rotation: Training: largest rotation to either side in degrees.
        grey_jitter: Training: probability that a picture's grey is drawn anew, as another film
            would have it.
        cache: Keep decoded pictures in memory: always, never, or where they fit and are read
            more than once (auto).
        num_workers: Processes that read pictures; by default none where pictures are in memory,
            else one a core (shared among the processes of the machine), at most 8.
        pin_memory: Ship batches from page-locked memory; by default where there is a GPU.
        max_broken_share: The run stops where a larger share of all pictures (and more than one)
            cannot be read.
        seed: Of order and crops; by default that of `seed_everything`.

    Raises:
        UsageError: If a number makes no sense.
        SourceError: At `setup`, if there is nothing to read, or too little for the processes.
    """

    def __init__(
        self,
        root: str | None = None,
        source: Source | None = None,
        size: int = 128,
        batch_size: int = 32,
        flip: float = 0.5,
        crop_scale: tuple[float, float] | None = (0.6, 1.0),
        crop_ratio: tuple[float, float] = (0.8, 1.25),
        rotation: float = 0.0,
        grey_jitter: float = 0.0,
        cache: Literal["auto", "always", "never"] = "auto",
        num_workers: int | None = None,
        pin_memory: bool | None = None,
        max_broken_share: float = 0.01,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        require_least(1, size=size, batch_size=batch_size)
        require_least(0, num_workers=num_workers)
        require_share(flip=flip, grey_jitter=grey_jitter, max_broken_share=max_broken_share)
        require("rotation", rotation, "from 0 to 180 degrees", 0 <= rotation <= 180)
        require_range("crop_ratio", crop_ratio)
        if crop_scale is not None:
            require_range("crop_scale", crop_scale, most=1)
        self.save_hyperparameters(ignore=["source"])
        self.root = None if root is None else Path(root).expanduser()
        self.source = source or (EmbeddedSource() if root is None else FolderSource())
        self.size = size
        self.batch_size = batch_size
        self.augmentation = Augmentation(size, flip, crop_scale, crop_ratio, rotation, grey_jitter)
        self.cache = cache
        self.num_workers = num_workers
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.max_broken_share = max_broken_share
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self._splits: Splits = {}
        self._pictures: dict[Split, PictureSet] = {}
        self._kept_bytes = 0.0
        self._train_loader: PictureLoader | None = None
        self._resume_from: dict[str, int] | None = None

    def prepare_data(self) -> None:
        """Download what the source needs, in one process."""
        self.source.prepare(self.root)

    def setup(self, stage: str | None = None) -> None:
        """Find the pictures of each split; those of the stage are read where they fit in memory."""
        if not self._splits:
            self._splits = self.source.splits(self.root)
        needed: dict[str | None, list[Split]] = {
            "fit": ["train", "val"],
            "validate": ["val"],
            "test": ["test"],
        }
        for split in needed.get(stage, []):
            self.pictures(split)
        for name, count in self.counts().items():
            if count < self._processes:
                raise SourceError(
                    f"{count} {name} picture{'s' * (count != 1)} for {self._processes} processes, "
                    f"each needs at least one: pass --trainer.devices {count}, or add pictures"
                )

    def counts(self) -> dict[str, int]:
        """Return the number of pictures of each split, broken ones counted until they are met."""
        return {
            name: len(self._pictures.get(name, pictures))  # type: ignore[call-overload]
            for name, pictures in self._splits.items()
        }

    def has(self, split: Split) -> bool:
        """Return whether the source has such a split."""
        return split in self._splits

    def pictures(self, split: Split) -> PictureSet:
        """Return a split's pictures, from memory where they fit.

        Raises:
            SourceError: If the source has no such split, or none of its pictures can be read.
        """
        if split not in self._pictures:
            if split not in self._splits:
                raise SourceError(
                    f"the data has no {split} pictures, only {', '.join(self._splits)}"
                )
            found = self._splits[split]
            self._pictures[split] = self._cached(split, found) if self._keeps(split) else found
        return self._pictures[split]

    def loader(self, split: Split) -> PictureLoader:
        """Return a loader of uint8 batches: shuffled for training, each picture once otherwise."""
        pictures = self.pictures(split)
        # Lightning's overfit_batches wants the same pictures in every epoch.
        overfit = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        training = split == "train" and not overfit
        workers = self._workers(pictures)
        return PictureLoader(
            PictureDataset(
                pictures, self._side(split), random_crop=training, replace_broken=training
            ),
            EpochBatches(
                len(pictures),
                self.batch_size,
                shuffle=training,
                weights=pictures.weights if training else None,
                seed=self.seed,
                rank=self._rank,
                ranks=self._processes,
            ),
            self._broken,
            seed_batches=split == "train",
            num_workers=workers,
            pin_memory=self.pin_memory,
            persistent_workers=workers > 0,
        )

    def train_dataloader(self) -> PictureLoader:
        """Return the shuffled, resumable loader of the training pictures."""
        self._train_loader = self.loader("train")
        if self._resume_from is not None:
            self._train_loader.load_state_dict(self._resume_from)
            self._resume_from = None
        return self._train_loader

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training pictures.

        Lightning keeps the loader's own state too, but brings it back in mid-epoch only.
        """
        return {} if self._train_loader is None else self._train_loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a position in the training pictures."""
        self._resume_from = state_dict or None

    def val_dataloader(self) -> PictureLoader:
        """Return the loader of the validation pictures."""
        return self.loader("val")

    def test_dataloader(self) -> PictureLoader:
        """Return the loader of the test pictures."""
        return self.loader("test")

    def on_after_batch_transfer(self, batch: RawBatch, dataloader_idx: int) -> ColorBatch:
        """Convert on the device; augment where the Trainer is training."""
        training = self.trainer is not None and self.trainer.training
        return to_color_batch(batch, self.augmentation if training else None)

    def color_batches(self, split: Split, limit: int | None = None) -> Iterator[ColorBatch]:
        """Yield a split's pictures as (L, ab) without a Trainer or augmentation.

        Args:
            split: Which.
            limit: At most this many pictures, drawn from the whole split, to full batches. With
                the Trainer's `fast_dev_run`, no more than its batches.
        """
        pictures = self.pictures(split)
        if self.trainer is not None and self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            limit = self.batch_size * self.trainer.fast_dev_run  # type: ignore[attr-defined]
        some = limit is not None and limit < len(pictures)
        loader = PictureLoader(
            PictureDataset(pictures, self.size),
            EpochBatches(len(pictures), self.batch_size, shuffle=some),
            self._broken,
            num_workers=self._workers(pictures),
        )
        count = max(1, limit // self.batch_size) if limit and some else None
        for raw in islice(loader, count):
            yield to_color_batch(raw)

    def _side(self, split: Split) -> int:
        return round(self.size * _MARGIN) if split == "train" else self.size

    def _keeps(self, split: Split) -> bool:
        """Return whether a split's pictures are to be kept in memory."""
        if self.cache != "auto":
            return self.cache == "always"
        count = len(self._splits[split])
        fits = fits_in_memory(count, self._side(split), self._kept_bytes, self._local_processes)
        return fits and not self._takes_a_few(split, count)

    def _takes_a_few(self, split: Split, count: int) -> bool:
        """Return whether the Trainer is told to stop before it has met each picture once."""
        if self.trainer is None:
            return False
        batches = getattr(self.trainer, f"limit_{split}_batches")
        passes = self.trainer.max_epochs if split == "train" else 1
        if not isinstance(batches, int) or passes in (None, -1):
            return False
        return batches * self.batch_size * self._processes * passes < count

    def _cached(self, split: Split, found: PictureSet) -> CachedPictures:
        """Read a split's pictures into memory."""
        cached = CachedPictures(found, self._side(split))
        if not len(cached):
            raise SourceError(
                f"none of {len(found)} pictures for {split} can be read "
                f"(first: {cached.broken[0].error})"
            )
        # Each process reads them all, and one tells.
        self._broken.add(cached.broken, told_elsewhere=self._rank > 0)
        self._kept_bytes += bytes_needed(len(cached), self._side(split))
        return cached

    def _workers(self, pictures: PictureSet) -> int:
        if self.num_workers is not None:
            return self.num_workers
        if isinstance(pictures, CachedPictures):
            return 0
        return max(1, min(8, cores() // self._local_processes))

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _processes(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def _local_processes(self) -> int:
        """Processes of this run on this machine."""
        return self.trainer.num_devices if self.trainer else 1

    @cached_property
    def _broken(self) -> BrokenPictures:
        """The account of broken pictures, begun when the first are read: by then a run is known."""
        total = sum(len(pictures) for pictures in self._splits.values())
        return BrokenPictures(total, self.max_broken_share, self._broken_list())

    def _broken_list(self) -> Path | None:
        """Return the file in the run's folder; None where no run leaves one."""
        if self.trainer is None or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return None
        return Path(self.trainer.default_root_dir) / "broken.txt"
