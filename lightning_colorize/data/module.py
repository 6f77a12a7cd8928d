"""The data module: uint8 RGB from the loader, (L, ab) on the device."""

import math
import os
import sys
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule

from lightning_colorize.color import ColorBatch, RawBatch
from lightning_colorize.common.compiling import require_compiler
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.augmentation import Augmentation
from lightning_colorize.data.cache import (
    CachedImages,
    bytes_needed,
    fits_in_memory,
    require_memory,
)
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.corrupt import CorruptImages, require_skipped
from lightning_colorize.data.damage import Damage
from lightning_colorize.data.dataset import ImageDataset, Resize
from lightning_colorize.data.device.cached import DeviceImages, DeviceMemory
from lightning_colorize.data.image_set import ImageSet
from lightning_colorize.data.loader import EpochBatches, ImageLoader
from lightning_colorize.data.reading import (
    NO_TRAINER,
    Cache,
    Decode,
    squares,
    worker_count,
)
from lightning_colorize.data.sources import Source, SourceError, default_source, parse_root
from lightning_colorize.data.sources.base import Splits

Split = Literal["train", "val", "test"]

# Training images are read this much larger than the random crop.
_MARGIN = 1.125


class ColorizationDataModule(LightningDataModule):
    """Images of any source, as (L, ab) on the device.

    The loader ships uint8 RGB. Flips, crops and the conversion to LAB run on the device, in fp32
    whatever the training precision.

    Args:
        root: The folder of images or packed shards, or the URL of shards; by default the
            photographs that come with scikit-image.
        source: How the images are found and split; by default chosen by the root.
        size: Height and width of the images in pixels.
        resize: How an image becomes a square: crop resizes the short side and crops the long side,
            stretch resizes both sides and loses the aspect ratio.
        batch_size: Images in a batch of one process.
        flip: Training: probability of a horizontal flip.
        crop_scale: Training: range of the random crop's area as a share of the image's; null
            resizes without a crop.
        crop_ratio: Training: range of the random crop's width over height.
        rotation: Training: largest rotation to either side in degrees.
        grey_jitter: Training: probability of a random grey conversion, as if by another film.
        color_jitter: Training: probability of true colors with another hue (10 degrees at most)
            and chroma (a factor of 0.8 to 1.25); the lightness stays as it is.
        mixup: Training: probability of mixing an image and its colors with another of the batch.
        blur: Training: probability of a blurred grey image; the true colors stay as they are.
        grain: Training: probability of film grain in the grey image.
        jpeg: Training: probability of JPEG compression of the grey image.
        aging: Training: probability of halation, scratches and faded contrast of the grey image.
        cache: Cache decoded images in memory: always, never, if they fit and are read more than
            once (auto), or in the device's memory (device).
        decode: Where JPEGs that are not cached are decoded: on the CPU or on the device.
        num_workers: Worker processes; by default none for cached images, otherwise one per core
            (shared among the processes of the machine), at most 8.
        pin_memory: Ship batches from page-locked memory; by default if there is a GPU.
        compile: Compile augmentation and LAB conversion.
        max_broken_share: Stop if a larger share of all images, and more than one, cannot be read.
        seed: Seed of order and crops; by default the seed of `seed_everything`.

    Attributes:
        label_names: Class names of the training images, sorted; `Condition.labels` are indices into
            them, and an image of another class has none. Set by `setup`.

    Raises:
        UsageError: If an option is invalid.
        SourceError: At `setup`, if a split is empty, or has fewer images than processes.
    """

    def __init__(
        self,
        root: str | None = None,
        source: Source | None = None,
        size: int = 128,
        resize: Resize = "crop",
        batch_size: int = 32,
        flip: float = 0.5,
        crop_scale: tuple[float, float] | None = (0.6, 1.0),
        crop_ratio: tuple[float, float] = (0.8, 1.25),
        rotation: float = 0.0,
        grey_jitter: float = 0.0,
        blur: float = 0.0,
        grain: float = 0.0,
        jpeg: float = 0.0,
        aging: float = 0.0,
        color_jitter: float = 0.0,
        mixup: float = 0.0,
        cache: Cache = "auto",
        decode: Decode = "cpu",
        num_workers: int | None = None,
        pin_memory: bool | None = None,
        compile: bool = False,
        max_broken_share: float = 0.01,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        _require("size", size, "at least 1", size >= 1)
        _require("batch_size", batch_size, "at least 1", batch_size >= 1)
        _require("num_workers", num_workers, "at least 0", num_workers is None or num_workers >= 0)
        shares = {"flip": flip, "grey_jitter": grey_jitter, "blur": blur, "grain": grain}
        shares |= {"jpeg": jpeg, "aging": aging, "color_jitter": color_jitter, "mixup": mixup}
        shares["max_broken_share"] = max_broken_share
        for name, share in shares.items():
            _require(name, share, "from 0 to 1", 0 <= share <= 1)
        _require("rotation", rotation, "from 0 to 180 degrees", 0 <= rotation <= 180)
        _require_range("crop_ratio", crop_ratio)
        if crop_scale is not None:
            _require_range("crop_scale", crop_scale, most=1)
        # The model has a hyperparameter of the same name, and loggers merge the two.
        self.save_hyperparameters(ignore=["source", "compile"])
        self.root = None if root is None else parse_root(root)
        self.source = source or default_source(self.root)
        self.size = size
        self.batch_size = batch_size
        damage = Damage(blur, grain, jpeg, aging)
        self.augmentation = Augmentation(
            size, flip, crop_scale, crop_ratio, rotation, grey_jitter, damage, color_jitter, mixup
        )
        self.compiles = compile
        self.max_broken_share = max_broken_share
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.resize: Resize = resize
        self.decode: Decode = decode
        self.num_workers = num_workers
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self.cache: Cache = cache
        self._cached_bytes = 0.0
        self._device_memory: DeviceMemory | None = None
        self._splits: Splits = {}
        self.label_names: list[str] = []
        self._images: dict[Split, ImageSet] = {}
        self._train_loader: ImageLoader | None = None
        self._resume_from: dict[str, int] | None = None

    def prepare_data(self) -> None:
        """Download the data set of the source, in one process."""
        self.source.prepare(self.root)

    def setup(self, stage: str | None = None) -> None:
        """Find the images of each split, and cache those of the stage if they fit in memory."""
        if not self._splits:
            self.source.processes = self._run.num_devices
            self._splits = self.source.splits(self.root)
            if "train" in self._splits:
                self.label_names = sorted({*(self._splits["train"].notes.labels or ())} - {""})
            self._require_size()
        needed: dict[str | None, list[Split]] = {
            "fit": ["train", "val"],
            "validate": ["val"],
            "test": ["test"],
            "predict": ["test"],
        }
        if self.compiles and stage is not None:
            require_compiler("data.compile", self._run.strategy.root_device)
        for split in needed.get(stage, []):
            self.images(split)
        for name, count in self.counts().items():
            if count < self._run.world_size:
                raise SourceError(
                    f"{count} {name} image{'s' * (count != 1)} for {self._run.world_size} "
                    f"processes, each needs at least one: pass --trainer.devices {count}, or add "
                    "images"
                )

    def counts(self) -> dict[str, int]:
        """Return the number of images of each split. Uncached corrupt images are counted."""
        return {
            name: len(self._images.get(name, images))  # type: ignore[call-overload]
            for name, images in self._splits.items()
        }

    def has(self, split: Split) -> bool:
        """Return whether the source has a split."""
        return split in self._splits

    def images(self, split: Split) -> ImageSet:
        """Return a split's images, cached if they fit in memory.

        Raises:
            SourceError: If the source has no such split, or none of its images can be read.
            UsageError: If they are to be cached always or on the device, and do not fit.
        """
        if split not in self._images:
            if split not in self._splits:
                raise SourceError(f"the data has no {split} images, only {', '.join(self._splits)}")
            self._images[split] = self._cached(split, self._splits[split])
        return self._images[split]

    def originals(self, split: Split) -> ImageSet:
        """Return a split's images as the source has them, whole and not cached."""
        return self._splits[split]

    def loader(self, split: Split) -> ImageLoader:
        """Return a loader of uint8 batches, shuffled for training."""
        run, images = self._run, self.images(split)
        shuffle = split == "train" and run.overfit_batches == 0
        dataset, receive = squares(
            images,
            self._side(split),
            shuffle,
            self.resize,
            self.decode,
            run.strategy.root_device,
        )
        workers = worker_count(images, self.num_workers, run.num_devices)
        return ImageLoader(
            dataset,
            EpochBatches(
                len(images),
                self.batch_size,
                shuffle=shuffle,
                weights=images.weights if shuffle else None,
                order=images.order,
                seed=self.seed,
                rank=run.global_rank,
                ranks=run.world_size,
            ),
            self._corrupt,
            seed_batches=split == "train",
            label_names=self.label_names,
            receive=receive,
            num_workers=workers,
            pin_memory=self.pin_memory and dataset.ships_pixels,
            persistent_workers=workers > 0,
        )

    def train_dataloader(self) -> ImageLoader:
        """Return the shuffled and resumable loader of the training images."""
        self._train_loader = self.loader("train")
        if self._resume_from is not None:
            self._train_loader.load_state_dict(self._resume_from)
            self._resume_from = None
        return self._train_loader

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training images.

        Lightning saves the loader's state too, but restores it in mid-epoch only.
        """
        return {} if self._train_loader is None else self._train_loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a position in the training images."""
        # Read here, where a checkpoint is restored.
        names = ("epoch", "position", "batches", "batch_size", "ranks")
        self._resume_from = {name: int(state_dict[name]) for name in names} if state_dict else None

    def val_dataloader(self) -> ImageLoader:
        """Return the loader of the validation images."""
        return self.loader("val")

    def test_dataloader(self) -> ImageLoader:
        """Return the loader of the test images."""
        return self.loader("test")

    def predict_dataloader(self) -> ImageLoader:
        """Return the loader of the test images."""
        return self.loader("test")

    def on_after_batch_transfer(self, batch: RawBatch, dataloader_idx: int) -> ColorBatch:
        """Convert to (L, ab) on the device, and augment in training."""
        augmentation = self.augmentation if self._run.training else None
        return to_color_batch(batch, augmentation, self.compiles)

    def color_batches(self, split: Split, limit: int | None = None) -> Iterator[ColorBatch]:
        """Yield a split's images as (L, ab) without a Trainer or augmentation.

        Args:
            split: The split.
            limit: At most this many images, drawn from the whole split in full batches. With
                `fast_dev_run`, no more than its batches.
        """
        images = self.images(split)
        if self._run.fast_dev_run:
            limit = self.batch_size * int(self._run.fast_dev_run)
        some = limit is not None and limit < len(images)
        loader = ImageLoader(
            ImageDataset(images, self.size, resize=self.resize),
            EpochBatches(len(images), self.batch_size, shuffle=some, order=images.order),
            self._corrupt,
            label_names=self.label_names,
            num_workers=worker_count(images, self.num_workers, self._run.num_devices),
        )
        count = max(1, limit // self.batch_size) if limit and some else None
        for raw in islice(loader, count):
            yield to_color_batch(raw)

    def _require_size(self) -> None:
        """Refuse to enlarge images that were packed at a smaller size."""
        for images in self._splits.values():
            if images.side is not None and images.side < self.size:
                raise SourceError(
                    f"a size of {self.size} is more than the {images.side} pixels that the "
                    f"images are packed at: lower --data.size, or pack them again with --size "
                    f"{round(self.size * _MARGIN)}"
                )

    def _side(self, split: Split) -> int:
        if split != "train" or self.augmentation.crop is None:
            return self.size
        packed = self._splits[split].side
        # A packed image without the margin is cropped as it is, not enlarged first.
        return min(round(self.size * _MARGIN), packed or sys.maxsize)

    def _cached(self, split: Split, found: ImageSet) -> ImageSet:
        """Return a split's images, read into memory if `cache` says so."""
        run, side = self._run, self._side(split)
        if self.cache == "never" or (self.cache == "auto" and not self._pays(split, found, side)):
            return found
        if self.cache == "device":
            self._device_memory = self._device_memory or DeviceMemory(run.strategy.root_device)
            cached: CachedImages = DeviceImages(found, side, self._device_memory, self.resize)
        else:
            require_memory(len(found), side, self._cached_bytes, run.num_devices)
            cached = CachedImages(found, side, self.resize)
        if not len(cached):
            for _, error in cached.corrupt:
                require_skipped(error)
            raise SourceError(
                f"none of {len(found)} images for {split} can be read "
                f"(first: {cached.corrupt[0].error})"
            )
        self._cached_bytes += bytes_needed(len(cached), side)
        # Every process reads them all; one reports.
        self._corrupt.add(cached.corrupt, reported_by_rank_zero=run.global_rank > 0)
        return cached

    def _pays(self, split: Split, found: ImageSet, side: int) -> bool:
        """Return whether images fit in memory and are read more than once."""
        run, reads = self._run, math.inf
        batches = getattr(run, f"limit_{split}_batches")
        epochs = run.max_epochs if split == "train" else 1
        if isinstance(batches, int) and epochs not in (None, -1):
            reads = batches * self.batch_size * run.world_size * epochs
        fit = fits_in_memory(len(found), side, self._cached_bytes, run.num_devices)
        return fit and reads >= len(found)

    @property
    def _run(self) -> Any:
        """The Trainer, or the settings of a single CPU process."""
        return self.trainer or NO_TRAINER

    @cached_property
    def _corrupt(self) -> CorruptImages:
        """The corrupt images. Created at the first read, when the run's folder is known."""
        total = sum(len(images) for images in self._splits.values())
        folder = None if self._run.fast_dev_run else self._run.default_root_dir
        report = None if folder is None else Path(folder) / "broken.txt"
        return CorruptImages(total, self.max_broken_share, report)


def _require(name: str, value: object, accepted: str, valid: bool) -> None:
    if not valid:
        raise UsageError(f"--data.{name} is {value}: it must be {accepted}")


def _require_range(name: str, value: tuple[float, float], most: float = math.inf) -> None:
    """Refuse a range that starts at 0 or below, is reversed or ends above `most`."""
    ends = "" if most == math.inf else f" and at most {most:g}"
    accepted = f"[from, to], above 0{ends}, the smaller number first"
    valid = 0 < value[0] <= value[1] <= most and value[1] < math.inf
    _require(name, list(value), accepted, valid)
