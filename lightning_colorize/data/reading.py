"""How a split's images reach the device: cached or from files, as pixels or as encoded files."""

from typing import Literal, NamedTuple

import torch

from lightning_colorize.common.processes import cores
from lightning_colorize.data.cache import CachedImages, bytes_needed, fits_in_memory
from lightning_colorize.data.corrupt import CorruptImages, require_skipped
from lightning_colorize.data.dataset import ImageDataset, Resize
from lightning_colorize.data.device.cached import DeviceDataset, DeviceImages, DeviceMemory
from lightning_colorize.data.device.decode import Decoder, require_decoder
from lightning_colorize.data.device.jpegs import JpegDataset
from lightning_colorize.data.images import ImageSet
from lightning_colorize.data.loader import EpochBatches, ImageLoader, Receive
from lightning_colorize.data.sources import SourceError
from lightning_colorize.data.trainer_view import TrainerView

Cache = Literal["auto", "always", "never", "device"]
"""Where decoded images are cached: in the machine's memory if they fit, always there, nowhere, or
in the device's memory."""

Decode = Literal["cpu", "device"]
"""Where JPEGs that are not cached are decoded: in the loader's workers, or on the device."""


class ImageCache:
    """Caches the images of splits, and counts the memory that they take."""

    def __init__(self, cache: Cache, resize: Resize) -> None:
        self.cache = cache
        self.resize = resize
        self._taken = 0.0
        self._device: DeviceMemory | None = None

    def caches(self, count: int, side: int, reads: float, processes: int) -> bool:
        """Return whether a split's images are to be cached."""
        if self.cache != "auto":
            return self.cache != "never"
        return reads >= count and fits_in_memory(count, side, self._taken, processes)

    def load(self, split: str, images: ImageSet, side: int, device: torch.device) -> CachedImages:
        """Read a split's images into memory.

        Raises:
            SourceError: If none of them can be read.
            UsageError: If they do not fit on the device.
            WorkError: If none can be read because of a shard that is not to be skipped.
        """
        if self.cache == "device":
            self._device = self._device or DeviceMemory(device)
            cached: CachedImages = DeviceImages(images, side, self._device, self.resize)
        else:
            cached = CachedImages(images, side, self.resize)
        if not len(cached):
            for _, error in cached.corrupt:
                require_skipped(error)
            raise SourceError(
                f"none of {len(images)} images for {split} can be read "
                f"(first: {cached.corrupt[0].error})"
            )
        self._taken += bytes_needed(len(cached), side)
        return cached


class Reading(NamedTuple):
    """How the images of all splits are read.

    Attributes:
        batch_size: Images in a batch of one process.
        resize: How images become squares.
        num_workers: Processes that read; None for as many as are useful.
        pin_memory: Ship pixels from page-locked memory.
        decode: Where JPEGs are decoded.
        seed: Of order and crops.
    """

    batch_size: int
    resize: Resize
    num_workers: int | None
    pin_memory: bool
    decode: Decode
    seed: int

    def loader(
        self,
        images: ImageSet,
        side: int,
        corrupt: CorruptImages,
        run: TrainerView,
        *,
        shuffle: bool = False,
        seed_batches: bool = False,
    ) -> ImageLoader:
        """Return a loader of uint8 batches of a split's images, cached or not.

        With `shuffle`, for training, each epoch has a new order and random squares, and corrupt
        images are replaced. Otherwise each image is read once.

        Raises:
            UsageError: If the device is to decode and cannot.
        """
        dataset, receive = self._dataset(images, side, shuffle, run.device)
        workers = self.workers(images, run.local_ranks)
        return ImageLoader(
            dataset,
            EpochBatches(
                len(images),
                self.batch_size,
                shuffle=shuffle,
                weights=images.weights if shuffle else None,
                order=images.order,
                seed=self.seed,
                rank=run.rank,
                ranks=run.ranks,
            ),
            corrupt,
            seed_batches=seed_batches,
            receive=receive,
            num_workers=workers,
            pin_memory=self.pin_memory and dataset.ships_pixels,
            persistent_workers=workers > 0,
        )

    def workers(self, images: ImageSet, local_ranks: int) -> int:
        """Return how many processes read images."""
        if isinstance(images, DeviceImages):
            return 0
        if self.num_workers is not None:
            return self.num_workers
        if isinstance(images, CachedImages):
            return 0
        return max(1, min(8, cores() // local_ranks))

    def _dataset(
        self, images: ImageSet, side: int, training: bool, device: torch.device
    ) -> tuple[ImageDataset, Receive]:
        if isinstance(images, DeviceImages):
            placed = DeviceDataset(images, side, random_crop=training)
            return placed, placed.batches
        decoded = ImageDataset(images, side, training, training, self.resize)
        if self.decode == "device" and not isinstance(images, CachedImages):
            require_decoder(device)
            replacement = decoded.at if training else None
            decoder = Decoder(device, side, replacement, self.resize)
            return JpegDataset(images, side, training, training, self.resize), decoder.batches
        return decoded, iter
