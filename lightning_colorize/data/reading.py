"""How a split's pictures get to the device: as pixels, as files, or being there already."""

from typing import Literal, NamedTuple

import torch

from lightning_colorize.data.broken import BrokenPictures
from lightning_colorize.data.cache import CachedPictures
from lightning_colorize.data.dataset import PictureDataset
from lightning_colorize.data.device import (
    Decoder,
    DevicePictures,
    JpegDataset,
    PlacedDataset,
    require_decoder,
)
from lightning_colorize.data.loader import EpochBatches, PictureLoader, Receive
from lightning_colorize.data.pictures import PictureSet
from lightning_colorize.data.trainer_view import TrainerView
from lightning_colorize.processes import cores

Decode = Literal["cpu", "device"]
"""Who decodes JPEGs that are read for each batch: the loader's workers, or the device."""


class Reading(NamedTuple):
    """How pictures are read, those of all splits alike.

    Attributes:
        batch_size: Pictures in a batch of one process.
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
        pictures: PictureSet,
        side: int,
        broken: BrokenPictures,
        run: TrainerView,
        *,
        shuffle: bool = False,
        seed_batches: bool = False,
    ) -> PictureLoader:
        """Return a loader of uint8 batches.

        Args:
            pictures: Of a split, or those of it that are kept in memory.
            side: Height and width of the squares; of pictures on the device, that of their short
                sides.
            broken: Told of what cannot be read.
            run: What it is for.
            shuffle: For training: a new order in each epoch, random squares, and what is broken is
                replaced. Else each picture once.
            seed_batches: As in `PictureLoader`.

        Raises:
            UsageError: If the device is to decode and cannot.
        """
        dataset, receive = self._way(pictures, side, shuffle, run.device)
        workers = self.workers(pictures, run.local_ranks)
        return PictureLoader(
            dataset,
            EpochBatches(
                len(pictures),
                self.batch_size,
                shuffle=shuffle,
                weights=pictures.weights if shuffle else None,
                order=pictures.order,
                seed=self.seed,
                rank=run.rank,
                ranks=run.ranks,
            ),
            broken,
            seed_batches=seed_batches,
            receive=receive,
            num_workers=workers,
            pin_memory=self.pin_memory and dataset.ships_pixels,
            persistent_workers=workers > 0,
        )

    def workers(self, pictures: PictureSet, local_ranks: int) -> int:
        """Return how many processes read pictures.

        Args:
            pictures: The pictures.
            local_ranks: Processes of the run on this machine, which share its cores.
        """
        if isinstance(pictures, DevicePictures):
            return 0
        if self.num_workers is not None:
            return self.num_workers
        if isinstance(pictures, CachedPictures):
            return 0
        return max(1, min(8, cores() // local_ranks))

    def _way(
        self, pictures: PictureSet, side: int, training: bool, device: torch.device
    ) -> tuple[PictureDataset, Receive]:
        if isinstance(pictures, DevicePictures):
            placed = PlacedDataset(pictures, side, random_crop=training)
            return placed, placed.batches
        how = {"random_crop": training, "replace_broken": training}
        decoded = PictureDataset(pictures, side, **how)
        if self.decode == "device" and not isinstance(pictures, CachedPictures):
            require_decoder(device)
            replacement = decoded.at if training else None
            return JpegDataset(pictures, side, **how), Decoder(device, side, replacement).batches
        return decoded, iter
