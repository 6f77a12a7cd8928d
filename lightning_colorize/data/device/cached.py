"""Images in the device's own memory: the loader says which, and the device cuts them out."""

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
"""Of a device's memory, so much may be taken by images; networks and batches need the rest."""


class DeviceMemory:
    """What images may take of a device's memory, all splits together.

    Args:
        device: Where.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.taken = 0

    def take(self, size: int) -> Tensor:
        """Return so many bytes: (size,), uint8.

        Raises:
            UsageError: If they would be more than the share of its memory, or than is free.
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


class PlacedBatch(NamedTuple):
    """Where the squares of a batch lie in the device's memory.

    Attributes:
        blocks: (B,), int64: in which block.
        places: (3, B), int64: the first byte in it, the bytes of a plane, and those of a row.
        names: The images'.
    """

    blocks: Tensor
    places: Tensor
    names: list[str]


class DeviceImages(CachedImages):
    """Images as `CachedImages` keeps them, in a device's memory.

    One block holds them all unless they are longer than most photographs; then there are more.

    Args:
        images: Read once, in threads, and sent to the device one by one: the machine's memory
            never holds them all.
        side: Pixels of the short side.
        memory: Where they are kept.
        mode: How they are resized.

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

    def placed(self, keys: list[tuple[int, float]], side: int) -> PlacedBatch:
        """Return where squares lie.

        Args:
            keys: Of each, which image, and where along its free length it is cut.
            side: Height and width.
        """
        blocks, places = [], []
        for index, position in keys:
            block, start = self._places[index]
            height, width = self._shapes[index]
            top, left = square_corner(height, width, side, position)
            blocks.append(block)
            places.append((start + top * width + left, height * width, width))
        return PlacedBatch(
            torch.from_numpy(np.array(blocks)),
            torch.from_numpy(np.array(places).T),
            [self.name(index) for index, _ in keys],
        )

    def gathered(self, batch: PlacedBatch, side: int) -> RawBatch:
        """Return the squares, on the device."""
        device = self._memory.device
        first, plane, row = batch.places.to(device)[..., None, None, None]
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


class PlacedDataset(ImageDataset):
    """Squares that are named by their place on the device instead of shipped."""

    ships_pixels = False
    images: DeviceImages

    def __getitems__(self, keys: list[tuple[int, int]]) -> PlacedBatch:
        """Return a whole batch's places; torch's DataLoader prefers this to single items."""
        cut = [(index, draw / 2**32 if self.random_crop else 0.5) for index, draw in keys]
        return self.images.placed(cut, self.side)

    def collate(self, items: PlacedBatch) -> PlacedBatch:  # type: ignore[override]
        """Return what `__getitems__` gave."""
        return items

    def batches(
        self, shipped: Iterator[PlacedBatch]
    ) -> Iterator[tuple[RawBatch, list[CorruptImage]]]:
        """Yield the batches on the device; what is corrupt was left out while they were read."""
        return ((self.images.gathered(batch, self.side), []) for batch in shipped)


def _memory(device: torch.device) -> tuple[int, int]:
    """Return how many bytes are free, and how many there are."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)
    return machine_memory(), machine_memory()
