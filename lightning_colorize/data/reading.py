"""How a split's images get to the device: as pixels, as files, or being there already."""

from typing import Literal, NamedTuple

import torch

from lightning_colorize.common.processes import cores
from lightning_colorize.data.cache import CachedImages
from lightning_colorize.data.corrupt import CorruptImages
from lightning_colorize.data.dataset import ImageDataset
from lightning_colorize.data.device import (
    Decoder,
    DeviceImages,
    JpegDataset,
    PlacedDataset,
    require_decoder,
)
from lightning_colorize.data.images import ImageSet
from lightning_colorize.data.loader import EpochBatches, ImageLoader, Receive
from lightning_colorize.data.trainer_view import TrainerView

Decode = Literal["cpu", "device"]
"""Who decodes JPEGs that are read for each batch: the loader's workers, or the device."""


class Reading(NamedTuple):
    """How images are read, those of all splits alike.

    Attributes:
        batch_size: Images in a batch of one process.
        num_workers: Processes that read; None for as many as are useful.
        pin_memory: Ship pixels from page-locked memory.
        decode: Who decodes.
        seed: Of order and crops.
    """

    batch_size: int
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
        """Return a loader of uint8 batches.

        Args:
            images: Of a split, or those of it that are kept in memory.
            side: Height and width of the squares; of images on the device, that of their short
                sides.
            corrupt: Told of what cannot be read.
            run: What it is for.
            shuffle: For training: a new order in each epoch, random squares, and what is corrupt is
                replaced. Else each image once.
            seed_batches: As in `ImageLoader`.

        Raises:
            UsageError: If the device is to decode and cannot.
        """
        dataset, receive = self._way(images, side, shuffle, run.device)
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
        """Return how many processes read images.

        Args:
            images: The images.
            local_ranks: Processes of the run on this machine, which share its cores.
        """
        if isinstance(images, DeviceImages):
            return 0
        if self.num_workers is not None:
            return self.num_workers
        if isinstance(images, CachedImages):
            return 0
        return max(1, min(8, cores() // local_ranks))

    def _way(
        self, images: ImageSet, side: int, training: bool, device: torch.device
    ) -> tuple[ImageDataset, Receive]:
        if isinstance(images, DeviceImages):
            placed = PlacedDataset(images, side, random_crop=training)
            return placed, placed.batches
        how = {"random_crop": training, "replace_corrupt": training}
        decoded = ImageDataset(images, side, **how)
        if self.decode == "device" and not isinstance(images, CachedImages):
            require_decoder(device)
            replacement = decoded.at if training else None
            return JpegDataset(images, side, **how), Decoder(device, side, replacement).batches
        return decoded, iter
