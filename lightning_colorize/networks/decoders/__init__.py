"""Decoders: features to one map."""

from lightning_colorize.networks.decoders.deconv import DeconvDecoder
from lightning_colorize.networks.decoders.pixel_shuffle import PixelShuffleDecoder
from lightning_colorize.networks.decoders.pyramid import PyramidDecoder
from lightning_colorize.networks.decoders.unet import UNetDecoder
from lightning_colorize.networks.decoders.upsample import UpsampleDecoder

__all__ = [
    "DeconvDecoder",
    "PixelShuffleDecoder",
    "PyramidDecoder",
    "UNetDecoder",
    "UpsampleDecoder",
]
