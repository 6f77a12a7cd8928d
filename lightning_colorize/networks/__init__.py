"""Plain `nn.Module` networks, usable without Lightning and the rest of the package."""

from lightning_colorize.networks import decoders, discriminators, encoders
from lightning_colorize.networks.base import Decoder, Discriminator, Encoder, FeatureInfo, Head
from lightning_colorize.networks.colorizer import Colorizer
from lightning_colorize.networks.decoders import *  # noqa: F403
from lightning_colorize.networks.discriminators import *  # noqa: F403
from lightning_colorize.networks.encoders import *  # noqa: F403
from lightning_colorize.networks.heads import AbHead, DeconvHead
from lightning_colorize.networks.layers import init_normal, parameter_count

__all__ = [
    "AbHead",
    "Colorizer",
    "Decoder",
    "DeconvHead",
    "Discriminator",
    "Encoder",
    "FeatureInfo",
    "Head",
    "init_normal",
    "parameter_count",
]
__all__ += decoders.__all__
__all__ += discriminators.__all__
__all__ += encoders.__all__
