"""Plain `nn.Module` networks, usable without Lightning and the rest of the package."""

from lightning_colorize.networks.base import Decoder, Discriminator, Encoder, FeatureInfo, Head
from lightning_colorize.networks.colorizer import Colorizer
from lightning_colorize.networks.decoders import (
    DeconvDecoder,
    PixelShuffleDecoder,
    PyramidDecoder,
    UNetDecoder,
    UpsampleDecoder,
)
from lightning_colorize.networks.discriminators import PatchDiscriminator
from lightning_colorize.networks.encoders import (
    ConvEncoder,
    MobileNetV2Encoder,
    PretrainedEncoder,
    ResNetEncoder,
    TimmEncoder,
    UNetEncoder,
    VGG16Encoder,
    WeightsError,
    skip_weights,
)
from lightning_colorize.networks.heads import AbHead, DeconvHead
from lightning_colorize.networks.layers import init_normal, parameter_count

__all__ = [
    "AbHead",
    "Colorizer",
    "ConvEncoder",
    "Decoder",
    "DeconvDecoder",
    "DeconvHead",
    "Discriminator",
    "Encoder",
    "FeatureInfo",
    "Head",
    "MobileNetV2Encoder",
    "PatchDiscriminator",
    "PixelShuffleDecoder",
    "PretrainedEncoder",
    "PyramidDecoder",
    "ResNetEncoder",
    "TimmEncoder",
    "UNetDecoder",
    "UNetEncoder",
    "UpsampleDecoder",
    "VGG16Encoder",
    "WeightsError",
    "init_normal",
    "parameter_count",
    "skip_weights",
]
