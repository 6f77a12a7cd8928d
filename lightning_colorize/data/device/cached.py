"""Images cached in device memory, which gathers the squares of a batch."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.cache import CachedImages, bytes_needed, machine_memory
from lightning_colorize.data.dataset import ImageDataset, Resize, Shipped
from lightning_colorize.data.image_set import ImageSet

SHARE = 0.5
"""Largest share of device memory for images; networks and batches need the rest."""


class DeviceMemory:
    """Allocates device memory for the images of all splits."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.taken = 0

    def take(self, size: int) -> Tensor:
        """Allocate (size,), uint8; a UsageError beyond its share or the free memory."""
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


class DeviceImages(CachedImages):
    """`CachedImages` in device memory; a UsageError if they do not fit.

    One block holds them all, or several if their aspect ratios are unusually long. Images are sent
    to the device one by one, so that host memory never holds them all.
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

    def gather(self, keys: Sequence[tuple[int, float]], side: int) -> Tensor:
        """Return square crops on the device: (B, 3, side, side), uint8.

        A key is an image's index and the crop position along its long side.
        """
        indices, positions = map(np.array, zip(*keys, strict=True))
        block, start = self._locations[indices].T
        height, width = self._shapes[indices].T
        # As `square_corner`, for the whole batch.
        top, left = (np.rint((long - side) * positions).astype(int) for long in (height, width))
        # Of the squares: first byte, bytes of a plane, bytes of a row.
        offsets = np.stack([start + top * width + left, height * width, width])
        first, plane, row = self._sent(offsets)[..., None, None, None]
        device = self._memory.device
        axis = torch.arange(side, device=device)
        color = torch.arange(3, device=device)[:, None, None]
        bytes_ = first + plane * color + row * axis[:, None] + axis
        used = np.unique(block)
        if len(used) == 1:
            only: Tensor = self._blocks[used[0]].take(bytes_)
            return only
        rgb = torch.empty(bytes_.shape, dtype=torch.uint8, device=device)
        for number in used:
            mine = self._sent(np.flatnonzero(block == number))
            rgb[mine] = self._blocks[number].take(bytes_[mine])
        return rgb

    def _sent(self, numbers: np.ndarray) -> Tensor:
        """Copy integers to the device; from pinned memory, so that the host does not wait."""
        tensor = torch.from_numpy(numbers)
        if self._memory.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._memory.device, non_blocking=True)


class DeviceDataset(ImageDataset):
    """A data set that ships no pixels: they are in the device's memory."""

    ships_pixels = False
    images: DeviceImages

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[tuple[int, float]]:
        """Return index and crop position of a batch; torch's DataLoader prefers this to items."""
        return [(index, draw / 2**32 if self.training else 0.5) for index, draw in keys]

    def collate(self, items: list[tuple[int, float]]) -> list[tuple[int, float]]:  # type: ignore[override]
        """Return the batch unchanged."""
        return items

    def batches(self, shipped: Iterator[list[tuple[int, float]]]) -> Iterator[Shipped]:
        """Yield the batches on the device. Corrupt images were left out while caching."""
        for keys in shipped:
            yield Shipped(self.images.gather(keys, self.side), [index for index, _ in keys], [])


def _memory(device: torch.device) -> tuple[int, int]:
    """Return free and total bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)
    return machine_memory(), machine_memory()
