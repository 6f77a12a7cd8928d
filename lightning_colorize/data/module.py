"""The data module: uint8 RGB from the loader, (L, ab) on the device."""

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn

from lightning_colorize.color import ColorBatch, RawBatch
from lightning_colorize.common.compiling import Compile, compiles
from lightning_colorize.common.errors import require_option
from lightning_colorize.common.processes import cores
from lightning_colorize.data.augmentation import Augmentation, AugmentationOptions
from lightning_colorize.data.cache import CachedImages, bytes_needed, fits_in_memory, require_memory
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.corrupt import CorruptImages
from lightning_colorize.data.dataset import ImageDataset, Resize
from lightning_colorize.data.device.cached import DeviceDataset, DeviceImages, fits_on_device
from lightning_colorize.data.device.decode import DeviceDecoder, JpegDataset, require_decoder
from lightning_colorize.data.device.transfer import prefetched
from lightning_colorize.data.image_set import ImageSet, sampled
from lightning_colorize.data.loader import EpochBatches, ImageLoader, Receive
from lightning_colorize.data.sources import Source, SourceError, default_source, parse_root
from lightning_colorize.data.sources.base import Splits

Split = Literal["train", "val", "test"]

Cache = Literal["auto", "always", "never", "device"]
"""Where decoded images are cached: in the memory of a CUDA device or of the machine if they fit,
always in the machine's, nowhere, or in the device's."""

Decode = Literal["cpu", "device"]
"""Where JPEGs that are not cached are decoded: in the loader's workers, or on the device."""

# Training images are read this much larger than the random crop.
_MARGIN = 1.125

_STAGES: dict[str | None, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
}

_DEFAULT = AugmentationOptions()

SINGLE_PROCESS = SimpleNamespace(
    global_rank=0,
    world_size=1,
    num_devices=1,
    strategy=SimpleNamespace(root_device=torch.device("cpu")),
    training=False,
    fast_dev_run=0,
    overfit_batches=0,
    max_epochs=-1,
    limit_train_batches=1.0,
    limit_val_batches=1.0,
    limit_test_batches=1.0,
    default_root_dir=None,
)
"""The attributes of a Trainer that the data module reads, for a CPU process without a Trainer."""


class ColorizationDataModule(LightningDataModule):
    """Images of any source, as (L, ab) on the device.

    The loader ships uint8 RGB. Flips, crops and the conversion to LAB run on the device, in fp32
    whatever the training precision.

    Args:
        root: The image folder, or the folder or URL of WebDataset tars; by default the photographs
            that come with scikit-image.
        source: How the images are found and split; by default chosen by the root.
        size: Height and width of the images in pixels.
        resize: How an image becomes a square: crop resizes the short side and crops the long side,
            stretch resizes both sides and loses the aspect ratio.
        batch_size: Images in a batch of one process.
        augmentation: How training images are augmented.
        cache: Cache decoded images in memory: always, never, if they fit and are read more than
            once (auto: on the device if a quarter of its free memory suffices), or in the device's
            memory (device).
        decode: Where JPEGs that are not cached are decoded: on the CPU or on the device.
        num_workers: Worker processes; by default none for cached images, otherwise one per core
            (shared among the processes of the machine), at most 8.
        pin_memory: Ship batches from page-locked memory, to a GPU one batch ahead; by default if
            there is a GPU.
        compile: Compile augmentation and LAB conversion; auto: on CUDA, if the run is long enough.
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
        augmentation: AugmentationOptions = _DEFAULT,
        cache: Cache = "auto",
        decode: Decode = "cpu",
        num_workers: int | None = None,
        pin_memory: bool | None = None,
        compile: Compile = "auto",
        max_broken_share: float = 0.01,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        require_option("data.size", size, "at least 1", size >= 1)
        require_option("data.batch_size", batch_size, "at least 1", batch_size >= 1)
        require_option("data.num_workers", num_workers, "at least 0", (num_workers or 0) >= 0)
        share = max_broken_share
        require_option("data.max_broken_share", share, "from 0 to 1", 0 <= share <= 1)
        # Checkpoints hold plain data only. The model has a hyperparameter `compile`, too, and
        # loggers merge the two.
        self.save_hyperparameters(ignore=["source", "compile", "augmentation"])
        self.save_hyperparameters({"augmentation": asdict(augmentation)})
        self.root = None if root is None else parse_root(root)
        self.source = source or default_source(self.root)
        self.size = size
        self.resize: Resize = resize
        self.batch_size = batch_size
        self.augmentation = Augmentation(size, augmentation)
        self.cache: Cache = cache
        self.decode: Decode = decode
        self.num_workers = num_workers
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.compile_setting = compile
        self.compiles = False
        self.max_broken_share = max_broken_share
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self.label_names: list[str] = []
        self._splits: Splits = {}
        self._images: dict[Split, ImageSet] = {}
        self._cached_bytes = {"device": 0.0, "always": 0.0}
        self._loaders: list[ImageLoader] = []
        self._train_loader: ImageLoader | None = None
        self._resume_from: dict[str, int] | None = None

    def prepare_data(self) -> None:
        """Download the data set of the source, in one process."""
        self.source.prepare(self.root)

    def setup(self, stage: str | None = None) -> None:
        """Find the images of each split, and cache the stage's images if they fit in memory."""
        if not self._splits:
            self._splits = self.source.splits(self.root)
            if "train" in self._splits:
                self.label_names = sorted({*(self._splits["train"].notes.labels or ())} - {""})
            self._require_size()
        if stage == "fit" or (stage is not None and self.compile_setting is True):
            self.compiles = compiles("data.compile", self.compile_setting, self._trainer)
        for split in _STAGES.get(stage, ()):
            self.images(split)
        for name, count in self.counts().items():
            if count < self._trainer.world_size:
                raise SourceError(
                    f"{count} {name} image{'s' * (count != 1)} for {self._trainer.world_size} "
                    f"processes, each needs at least one: pass --trainer.devices {count}, or add "
                    "images"
                )

    def teardown(self, stage: str | None = None) -> None:
        """End the loaders' worker processes."""
        while self._loaders:
            self._loaders.pop().close()

    def on_exception(self, exception: BaseException) -> None:
        """End the loaders' worker processes."""
        self.teardown()

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
                raise SourceError(f"no {split} images, only {', '.join(self._splits)}; add some")
            self._images[split] = self._cached(split, self._splits[split])
        return self._images[split]

    def originals(self, split: Split) -> ImageSet:
        """Return a split's images as the source has them, whole and not cached."""
        return self._splits[split]

    def loader(self, split: Split) -> ImageLoader:
        """Return a loader of uint8 batches, shuffled for training."""
        trainer, images = self._trainer, self.images(split)
        shuffle = split == "train" and trainer.overfit_batches == 0
        dataset, receive = self._dataset(images, self._side(split), shuffle)
        on_device = isinstance(images, DeviceImages) or receive is not iter
        batches = EpochBatches(
            len(images),
            self.batch_size,
            shuffle=shuffle,
            weights=images.weights if shuffle else None,
            order=images.order,
            seed=self.seed,
            rank=trainer.global_rank,
            ranks=trainer.world_size,
        )
        loader = ImageLoader(
            dataset,
            batches,
            self._corrupt,
            seed_batches=split == "train",
            label_names=self.label_names,
            receive=receive,
            device_type=trainer.strategy.root_device.type,
            num_workers=self._worker_count(images),
            pin_memory=self.pin_memory and not on_device,
        )
        self._loaders.append(loader)
        return loader

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
        if self.trainer is not None and self.trainer.state.fn != TrainerFn.FITTING:
            return
        # Read here, where a checkpoint is restored.
        names = ("epoch", "position", "batches", "batch_size", "ranks")
        self._resume_from = {name: int(state_dict[name]) for name in names} if state_dict else None

    def val_dataloader(self) -> ImageLoader:
        """Return the loader of the validation images."""
        return self.loader("val")

    def test_dataloader(self) -> ImageLoader:
        """Return the loader of the test images."""
        return self.loader("test")

    predict_dataloader = test_dataloader

    def transfer_batch_to_device(
        self, batch: RawBatch, device: torch.device, dataloader_idx: int
    ) -> RawBatch:
        """Copy images and labels; Lightning would look at each name and text, too."""
        given = batch.rgb, batch.condition.labels
        rgb, labels = super().transfer_batch_to_device(given, device, dataloader_idx)
        return RawBatch(rgb, batch.names, batch.condition._replace(labels=labels))

    def on_after_batch_transfer(self, batch: RawBatch, dataloader_idx: int) -> ColorBatch:
        """Convert to (L, ab) on the device, and augment in training."""
        augmentation = self.augmentation if self._trainer.training else None
        return to_color_batch(batch, augmentation, self.compiles)

    def color_batches(self, split: Split, limit: int | None = None) -> Iterator[ColorBatch]:
        """Yield a split's images as (L, ab) without a Trainer or augmentation.

        Args:
            split: The split. Weighted training images are sampled by their weights.
            limit: Number of images to sample from the whole split, at most all; None for all. With
                `fast_dev_run`, no more than its batches.
        """
        images = self.images(split)
        if self._trainer.fast_dev_run:
            most = self.batch_size * int(self._trainer.fast_dev_run)
            limit = most if limit is None else min(limit, most)
        chosen = sampled(images, limit)
        loader = ImageLoader(
            ImageDataset(chosen, self.size, resize=self.resize),
            EpochBatches(len(chosen), self.batch_size, shuffle=False),
            self._corrupt,
            label_names=self.label_names,
            num_workers=self._worker_count(images),
        )
        for raw in loader if len(chosen) else ():
            yield to_color_batch(raw._replace(rgb=raw.rgb.cpu()))

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
        if split != "train" or self.augmentation.options.crop_scale is None:
            return self.size
        packed = self._splits[split].side
        # A packed image without the margin is cropped as it is, not enlarged first.
        return min(round(self.size * _MARGIN), packed or sys.maxsize)

    def _dataset(self, images: ImageSet, side: int, training: bool) -> tuple[ImageDataset, Receive]:
        """Return the data set of square crops, and what turns its batches into pixels.

        In training, squares are at random positions and corrupt images are replaced.
        """
        device = self._trainer.strategy.root_device
        if isinstance(images, DeviceImages):
            return DeviceDataset(images, side, training), iter
        decoded = ImageDataset(images, side, training, self.resize)
        if self.decode == "device" and not isinstance(images, CachedImages):
            require_decoder(device)
            encoded = JpegDataset(images, side, training, self.resize)
            return encoded, DeviceDecoder(device, decoded).batches
        if device.type == "cuda" and self.pin_memory:
            return decoded, partial(prefetched, device=device)
        return decoded, iter

    def _worker_count(self, images: ImageSet) -> int:
        if isinstance(images, DeviceImages):
            return 0
        if self.num_workers is not None:
            return self.num_workers
        if isinstance(images, CachedImages):
            return 0
        local_ranks: int = self._trainer.num_devices
        return max(1, min(8, cores() // local_ranks))

    def _cached(self, split: Split, found: ImageSet) -> ImageSet:
        """Return a split's images, read into memory if `cache` says so."""
        trainer, side, cache = self._trainer, self._side(split), self.cache
        device, taken = trainer.strategy.root_device, self._cached_bytes["always"]
        taken_there = self._cached_bytes["device"]
        if cache == "auto" and device.type == "cuda":
            fits = fits_on_device(len(found), side, device, taken_there)
            # All processes alike: a cache leaves out corrupt images.
            cache = "device" if trainer.strategy.reduce_boolean_decision(fits) else "auto"
        if cache == "auto" and not fits_in_memory(len(found), side, taken, trainer.num_devices):
            cache = "never"
        if cache == "never" or (self.cache == "auto" and not self._pays(split, found)):
            return found
        if cache == "device":
            cached: CachedImages = DeviceImages(found, side, device, taken_there, self.resize)
        else:
            require_memory(len(found), side, taken, trainer.num_devices)
            cached = CachedImages(found, side, self.resize)
        # Every process reads them all; one reports.
        self._corrupt.add(cached.corrupt, reported_by_rank_zero=trainer.global_rank > 0)
        if not len(cached):
            first = cached.corrupt[0].error
            raise SourceError(
                f"none of {len(found)} images for {split} can be read (first: {first})"
            )
        self._cached_bytes["device" if cache == "device" else "always"] += bytes_needed(
            len(cached), side
        )
        return cached

    def _pays(self, split: Split, found: ImageSet) -> bool:
        """Return whether at least as many images as there are will be read."""
        trainer = self._trainer
        batches = getattr(trainer, f"limit_{split}_batches")
        reads, epochs = math.inf, trainer.max_epochs if split == "train" else 1
        if isinstance(batches, int):
            reads = batches * self.batch_size * trainer.world_size
        elif split == "train":
            reads = len(found) * batches  # a share
        reads *= math.inf if epochs in (None, -1) else epochs
        return reads >= len(found)

    @property
    def _trainer(self) -> Any:
        """The Trainer, or the settings of a single CPU process."""
        return self.trainer or SINGLE_PROCESS

    @cached_property
    def _corrupt(self) -> CorruptImages:
        """The corrupt images. Created at the first read, when the run's folder is known."""
        total = sum(len(images) for images in self._splits.values())
        folder = None if self._trainer.fast_dev_run else self._trainer.default_root_dir
        report = None if folder is None else Path(folder) / "broken.txt"
        return CorruptImages(total, self.max_broken_share, report)
