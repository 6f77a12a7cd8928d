"""Images decoded on the device or cached in its memory. A CPU is a device too."""

from lightning_colorize.data.device.cached import DeviceDataset, DeviceImages, DeviceMemory
from lightning_colorize.data.device.decode import Decoder, require_decoder
from lightning_colorize.data.device.jpegs import JpegDataset

__all__ = [
    "Decoder",
    "DeviceDataset",
    "DeviceImages",
    "DeviceMemory",
    "JpegDataset",
    "require_decoder",
]
