"""Plain networks: encoders, decoders and heads, usable without Lightning or the rest of ours."""

from lightning_colorize.networks.base import Decoder, Encoder, FeatureInfo, Head
from lightning_colorize.networks.colorizer import Colorizer
from lightning_colorize.networks.decoders import (
    DeconvDecoder,
    PixelShuffleDecoder,
    PyramidDecoder,
    UpsampleDecoder,
)
from lightning_colorize.networks.encoders import (
    ConvEncoder,
    MobileNetV2Encoder,
    PretrainedEncoder,
    ResNetEncoder,
    TimmEncoder,
    VGG16Encoder,
    WeightsError,
    skip_weights,
)
from lightning_colorize.networks.heads import AbHead
from lightning_colorize.networks.parameters import parameter_count

__all__ = [
    "AbHead",
    "Colorizer",
    "ConvEncoder",
    "Decoder",
    "DeconvDecoder",
    "Encoder",
    "FeatureInfo",
    "Head",
    "MobileNetV2Encoder",
    "PixelShuffleDecoder",
    "PretrainedEncoder",
    "PyramidDecoder",
    "ResNetEncoder",
    "TimmEncoder",
    "UpsampleDecoder",
    "VGG16Encoder",
    "WeightsError",
    "parameter_count",
    "skip_weights",
]
