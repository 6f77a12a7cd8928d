"""Pictures that the device decodes, or keeps in its own memory; a CPU is a device too."""

from lightning_colorize.data.device.decode import Decoder, require_decoder
from lightning_colorize.data.device.jpegs import JpegDataset
from lightning_colorize.data.device.kept import DeviceMemory, DevicePictures, PlacedDataset

__all__ = [
    "Decoder",
    "DeviceMemory",
    "DevicePictures",
    "JpegDataset",
    "PlacedDataset",
    "require_decoder",
]
