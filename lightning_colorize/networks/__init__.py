"""Plain `nn.Module` networks, usable without Lightning or the rest of the package."""

from lightning_colorize.networks.base import Decoder, Discriminator, Encoder, FeatureInfo, Head
from lightning_colorize.networks.decoders.color_queries import ColorQueryDecoder
from lightning_colorize.networks.decoders.unet import UNetDecoder
from lightning_colorize.networks.decoders.upsample import UpsampleDecoder
from lightning_colorize.networks.decoders.zhang import ZhangDecoder
from lightning_colorize.networks.denoiser import Denoiser
from lightning_colorize.networks.discriminators.critic import CriticDiscriminator
from lightning_colorize.networks.discriminators.patch import PatchDiscriminator
from lightning_colorize.networks.encoders.conditioned import ConditionedEncoder
from lightning_colorize.networks.encoders.conv import ConvEncoder
from lightning_colorize.networks.encoders.pretrained import PretrainedEncoder
from lightning_colorize.networks.encoders.pyramid import PyramidEncoder
from lightning_colorize.networks.encoders.timm_backbone import TimmEncoder
from lightning_colorize.networks.encoders.torchvision_backbone import (
    MobileNetV2Encoder,
    RegNetEncoder,
    ResNetEncoder,
    VGG16Encoder,
)
from lightning_colorize.networks.encoders.unet import UNetEncoder
from lightning_colorize.networks.encoders.weights import WeightsError
from lightning_colorize.networks.encoders.zhang import ZhangEncoder
from lightning_colorize.networks.generative import GenerativeNetwork
from lightning_colorize.networks.heads import AbHead, ClassificationHead, DeconvHead, RgbHead
from lightning_colorize.networks.layers import init_normal, parameter_count
from lightning_colorize.networks.network import ColorizationNetwork
from lightning_colorize.networks.objectives import Diffusion, FlowMatching
from lightning_colorize.networks.text import TransformersText

__all__ = [
    "AbHead",
    "ClassificationHead",
    "ColorQueryDecoder",
    "ColorizationNetwork",
    "ConditionedEncoder",
    "ConvEncoder",
    "CriticDiscriminator",
    "Decoder",
    "DeconvHead",
    "Denoiser",
    "Diffusion",
    "Discriminator",
    "Encoder",
    "FeatureInfo",
    "FlowMatching",
    "GenerativeNetwork",
    "Head",
    "MobileNetV2Encoder",
    "PatchDiscriminator",
    "PretrainedEncoder",
    "PyramidEncoder",
    "RegNetEncoder",
    "ResNetEncoder",
    "RgbHead",
    "TimmEncoder",
    "TransformersText",
    "UNetDecoder",
    "UNetEncoder",
    "UpsampleDecoder",
    "VGG16Encoder",
    "WeightsError",
    "ZhangDecoder",
    "ZhangEncoder",
    "init_normal",
    "parameter_count",
]
