"""Which splits' images are kept in memory, the machine's or the device's."""

from typing import Literal

import torch

from lightning_colorize.data.cache import CachedImages, bytes_needed, fits_in_memory
from lightning_colorize.data.device import DeviceImages, DeviceMemory
from lightning_colorize.data.images import ImageSet
from lightning_colorize.data.sources import SourceError

Cache = Literal["auto", "always", "never", "device"]
"""Where decoded images are kept: in the machine's memory if they fit, there, nowhere, on the
device."""


class Memory:
    """Keeps images, and account of the room that they take.

    Args:
        cache: Where.
    """

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._taken = 0.0
        self._device: DeviceMemory | None = None

    def keeps(self, count: int, side: int, reads: float, processes: int) -> bool:
        """Return whether a split's images are to be kept.

        Args:
            count: Images.
            side: Pixels of their short side.
            reads: How often one of them is read in all; fewer than there are need not be kept.
            processes: Of this run on this machine.
        """
        if self.cache != "auto":
            return self.cache != "never"
        return reads >= count and fits_in_memory(count, side, self._taken, processes)

    def keep(self, split: str, images: ImageSet, side: int, device: torch.device) -> CachedImages:
        """Read a split's images into memory.

        Args:
            split: What it is called.
            images: The images.
            side: Pixels of their short side.
            device: Where the run trains.

        Raises:
            SourceError: If none of them can be read.
            UsageError: If they do not fit on the device.
        """
        if self.cache == "device":
            self._device = self._device or DeviceMemory(device)
            kept: CachedImages = DeviceImages(images, side, self._device)
        else:
            kept = CachedImages(images, side)
        if not len(kept):
            raise SourceError(
                f"none of {len(images)} images for {split} can be read "
                f"(first: {kept.corrupt[0].error})"
            )
        self._taken += bytes_needed(len(kept), side)
        return kept
