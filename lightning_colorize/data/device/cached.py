"""Images cached in device memory, where they are cropped and stacked."""

import torch
from torch import Tensor

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.cache import CachedImages, bytes_needed, machine_memory
from lightning_colorize.data.dataset import Resize
from lightning_colorize.data.image_set import ImageSet

SHARE = 0.5
"""Largest share of device memory for images; networks and batches need the rest."""


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


def _memory(device: torch.device) -> tuple[int, int]:
    """Return free and total bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)
    return machine_memory(), machine_memory()
