"""Images cached in device memory, where they are cropped and stacked."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.cache import CachedImages, bytes_needed, machine_memory
from lightning_colorize.data.dataset import ImageDataset, Resize, Shipped
from lightning_colorize.data.device.transfer import to_device
from lightning_colorize.data.image_set import ImageSet

SHARE = 0.5
"""Largest share of device memory for images; networks and batches need the rest."""

_AUTO_SHARE = 0.25  # of free memory, for `data.cache: auto`


class DeviceImages(CachedImages):
    """`CachedImages` in device memory, of which other splits have `taken` some bytes.

    One block holds them all, or several if their aspect ratios are unusually long. Images are sent
    to the device one by one, so that host memory never holds them all. `read` returns a view there.

    Raises:
        UsageError: If they exceed `SHARE` of the memory, or the free memory.
    """

    def __init__(
        self,
        images: ImageSet,
        side: int,
        device: torch.device,
        taken: float = 0.0,
        mode: Resize = "crop",
    ) -> None:
        self.device = device
        self._taken = taken
        super().__init__(images, side, mode)

    def _block(self, least: int, side: int, left: int) -> Tensor:
        size = max(least, round(bytes_needed(left, side)))
        needed = self._taken + sum(map(len, self._blocks)) + size
        free, total = _memory(self.device)
        if needed > SHARE * total or size > free:
            raise UsageError(
                f"--data.cache: device\naccepted: auto, always, never: the images need "
                f"{needed / 2**30:.2g} GiB, and may take {SHARE:.0%} of the "
                f"{total / 2**30:.2g} GiB of {self.device}, of which {free / 2**30:.2g} GiB are "
                "free; or lower --data.size"
            )
        return torch.empty(size, dtype=torch.uint8, device=self.device)

    def squares(self, indices: np.ndarray, positions: np.ndarray, side: int) -> Tensor:
        """Return what `crop_square` crops from B images: (B, 3, side, side), uint8, on the device.

        One gather, for which only the starts of the squares' rows are copied to the device.
        """
        block, start = self._locations[indices].T
        shapes = self._shapes[indices]
        top, left = np.rint((shapes - side) * positions[:, None]).astype(np.int64).T
        height, width = shapes.T
        first, plane = start + top * width + left, height * width
        first, plane, width = (values[:, None, None] for values in (first, plane, width))
        rows = first + plane * np.arange(3)[:, None] + width * np.arange(side)
        parts: list[Tensor] = [
            self._blocks[number].unfold(0, side, 1)[self._sent(rows[block == number])]
            for number in np.unique(block)
        ]
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts)[self._sent(block.argsort(kind="stable").argsort())]

    def _sent(self, values: np.ndarray) -> Tensor:
        return to_device(torch.from_numpy(values), self.device)


class DeviceDataset(ImageDataset):
    """`ImageDataset` of `DeviceImages` at the cached size, which gathers a batch at once."""

    images: DeviceImages

    def __getitems__(self, keys: list[tuple[int, int]]) -> Shipped:
        indices, draws = np.array(keys).T
        positions = draws / 2**32 if self.training else np.full(len(keys), 0.5)
        return Shipped(self.images.squares(indices, positions, self.side), indices.tolist(), [])

    def collate(self, items: Any) -> Any:
        """Return the batch of `__getitems__`."""
        return items


def _memory(device: torch.device) -> tuple[int, int]:
    """Return free and total bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)
    return machine_memory(), machine_memory()


def fits_on_device(count: int, side: int, device: torch.device, taken: float = 0.0) -> bool:
    """Return whether images, as in `fits_in_memory`, fit into a device's quarter."""
    return taken + bytes_needed(count, side) <= _AUTO_SHARE * (_memory(device)[0] + taken)
