"""Encoders: grey images to features."""

from lightning_colorize.networks.encoders.conv import ConvEncoder
from lightning_colorize.networks.encoders.mobilenet import MobileNetV2Encoder
from lightning_colorize.networks.encoders.pretrained import PretrainedEncoder
from lightning_colorize.networks.encoders.regnet import RegNetEncoder
from lightning_colorize.networks.encoders.resnet import ResNetEncoder
from lightning_colorize.networks.encoders.timm_backbone import TimmEncoder
from lightning_colorize.networks.encoders.unet import UNetEncoder
from lightning_colorize.networks.encoders.vgg import VGG16Encoder
from lightning_colorize.networks.encoders.weights import WeightsError, skip_weights

__all__ = [
    "ConvEncoder",
    "MobileNetV2Encoder",
    "PretrainedEncoder",
    "RegNetEncoder",
    "ResNetEncoder",
    "TimmEncoder",
    "UNetEncoder",
    "VGG16Encoder",
    "WeightsError",
    "skip_weights",
]
