"""Images cached in device memory. The loader ships their locations, the device gathers pixels."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_colorize.color import RawBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.cache import CachedImages, bytes_needed, machine_memory
from lightning_colorize.data.dataset import CorruptImage, ImageDataset, Resize, square_corner
from lightning_colorize.data.images import ImageSet

SHARE = 0.5
"""Largest share of device memory for images; networks and batches need the rest."""


class DeviceMemory:
    """Allocates device memory for the images of all splits."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.taken = 0

    def take(self, size: int) -> Tensor:
        """Allocate bytes: (size,), uint8.

        Raises:
            UsageError: If they exceed the share of its memory or the free memory.
        """
        free, total = _memory(self.device)
        most = min(SHARE * total - self.taken, free)
        if size > most:
            raise UsageError(
                f"--data.cache: device\naccepted: auto, always, never: the images need "
                f"{(self.taken + size) / 2**30:.2g} GiB, and may take {SHARE:.0%} of the "
                f"{total / 2**30:.2g} GiB of {self.device}, of which {free / 2**30:.2g} GiB are "
                "free; or lower --data.size"
            )
        self.taken += size
        return torch.empty(size, dtype=torch.uint8, device=self.device)


class SquareLocations(NamedTuple):
    """Locations of a batch's squares in device memory.

    Attributes:
        blocks: (B,), int64: index of the block.
        offsets: (3, B), int64: first byte in the block, bytes of a plane, bytes of a row.
        names: Names of the images.
    """

    blocks: Tensor
    offsets: Tensor
    names: list[str]


class DeviceImages(CachedImages):
    """`CachedImages` in device memory.

    One block holds them all, or several if their aspect ratios are unusually long.

    Args:
        images: Read once, in threads, and sent to the device one by one, so that host memory never
            holds them all.
        side: Pixels of the short side.
        memory: Device memory to cache them in.
        mode: How images become squares.

    Raises:
        UsageError: If they do not fit.
    """

    def __init__(
        self, images: ImageSet, side: int, memory: DeviceMemory, mode: Resize = "crop"
    ) -> None:
        self._memory = memory
        super().__init__(images, side, mode)

    def _block(self, least: int, side: int, left: int) -> Tensor:
        return self._memory.take(max(least, round(bytes_needed(left, side))))

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the image at the cached size, on the CPU: (3, h, w), uint8."""
        return super().read(index, min_side).cpu()

    def locate(self, keys: list[tuple[int, float]], side: int) -> SquareLocations:
        """Return the locations of square crops.

        Args:
            keys: Index of each image, and the crop position along its long side.
            side: Height and width.
        """
        blocks, offsets = [], []
        for index, position in keys:
            block, start = self._locations[index]
            height, width = self._shapes[index]
            top, left = square_corner(height, width, side, position)
            blocks.append(block)
            offsets.append((start + top * width + left, height * width, width))
        return SquareLocations(
            torch.from_numpy(np.array(blocks)),
            torch.from_numpy(np.array(offsets).T),
            [self.name(index) for index, _ in keys],
        )

    def gather(self, batch: SquareLocations, side: int) -> RawBatch:
        """Return the squares on the device."""
        device = self._memory.device
        first, plane, row = batch.offsets.to(device)[..., None, None, None]
        axis = torch.arange(side, device=device)
        color = torch.arange(3, device=device)[:, None, None]
        bytes_ = first + plane * color + row * axis[:, None] + axis
        used = sorted(set(batch.blocks.tolist()))
        if len(used) == 1:
            return RawBatch(self._blocks[used[0]].take(bytes_), batch.names)
        rgb = torch.empty(bytes_.shape, dtype=torch.uint8, device=device)
        for block in used:
            mine = (batch.blocks == block).to(device)
            rgb[mine] = self._blocks[block].take(bytes_[mine])
        return RawBatch(rgb, batch.names)


class DeviceDataset(ImageDataset):
    """A data set that ships locations of squares in device memory, not pixels."""

    ships_pixels = False
    images: DeviceImages

    def __getitems__(self, keys: list[tuple[int, int]]) -> SquareLocations:
        """Return the locations of a whole batch; torch's DataLoader prefers this to items."""
        crops = [(index, draw / 2**32 if self.random_crop else 0.5) for index, draw in keys]
        return self.images.locate(crops, self.side)

    def collate(self, items: SquareLocations) -> SquareLocations:  # type: ignore[override]
        """Return the batch unchanged."""
        return items

    def batches(
        self, shipped: Iterator[SquareLocations]
    ) -> Iterator[tuple[RawBatch, list[CorruptImage]]]:
        """Yield the batches on the device. Corrupt images were left out while caching."""
        return ((self.images.gather(batch, self.side), []) for batch in shipped)


def _memory(device: torch.device) -> tuple[int, int]:
    """Return free and total bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)
    return machine_memory(), machine_memory()
