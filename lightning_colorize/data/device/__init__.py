"""Images that the device decodes, or keeps in its own memory; a CPU is a device too."""

from lightning_colorize.data.device.cached import DeviceImages, DeviceMemory, PlacedDataset
from lightning_colorize.data.device.decode import Decoder, require_decoder
from lightning_colorize.data.device.jpegs import JpegDataset

__all__ = [
    "Decoder",
    "DeviceImages",
    "DeviceMemory",
    "JpegDataset",
    "PlacedDataset",
    "require_decoder",
]
