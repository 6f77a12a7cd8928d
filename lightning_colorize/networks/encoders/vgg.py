"""VGG16's convolutional base."""

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights, VGG16_Weights, vgg16, vgg16_bn

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.encoders.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PretrainedEncoder,
)
from lightning_colorize.networks.layers import run_stages


class VGG16Encoder(PretrainedEncoder):
    """torchvision's VGG16 (Simonyan and Zisserman 2015), all of `features`: 224 -> 7x7x512.

    L is repeated to three channels and normalized like ImageNet's RGB. Levels: after each of the
    five pooling layers, /2 (64 channels), /4 (128), /8 (256), /16 (512) and /32 (512).

    Args:
        pretrained: Download torchvision's ImageNet weights (528 MB with the classifier).
        weights: File with a state dict in torchvision's format, with or without the classifier,
            instead of a download.
        frozen: Freeze all parameters.
        batch_norm: Use torchvision's VGG16 with batch norms, whose statistics stay fixed if weights
            are loaded.
        layers: Indices in torchvision's `features` whose outputs are the levels, for a perceptual
            loss; null: the pooling layers. With batch norms, conv1_1 to conv5_1 are 0, 7, 14, 24
            and 34, and the ReLUs before the pooling layers are 5, 12, 22, 32 and 42.

    Raises:
        WeightsError: If weights are unavailable or do not fit, or `frozen` is set without weights.
        ValueError: If `layers` do not ascend, or there are no such layers.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        pretrained: bool = False,
        weights: Path | None = None,
        frozen: bool = False,
        batch_norm: bool = False,
        layers: list[int] | None = None,
    ) -> None:
        super().__init__(pretrained, weights, frozen, norm_eval=None)
        # The classifier's 124 million parameters are never allocated.
        with torch.device("meta"):
            features = (vgg16_bn if batch_norm else vgg16)(weights=None).features
        network = nn.ModuleDict({"features": features.to_empty(device="cpu")})
        published = (VGG16_BN_Weights if batch_norm else VGG16_Weights).IMAGENET1K_V1
        if not self.load_torchvision(network, published, classifier="classifier."):
            for module in features.modules():
                if isinstance(module, nn.Conv2d):  # like torchvision's initialization
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                    nn.init.zeros_(module.bias)  # type: ignore[arg-type]
                elif isinstance(module, nn.BatchNorm2d):
                    module.reset_parameters()
        pools = [i for i, module in enumerate(features) if isinstance(module, nn.MaxPool2d)]
        layers = pools if layers is None else layers
        ends = [0, *(layer + 1 for layer in layers)]
        if not all(0 <= before < after <= len(features) for before, after in pairwise(ends)):
            raise ValueError(f"layers are {layers}; they must ascend, up to {len(features) - 1}")
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        stages = [features[start:end] for start, end in pairwise(ends)]
        for stage in stages:
            if isinstance(stage[0], nn.ReLU):
                stage[0].inplace = False  # its input is a level
        self.stages = nn.ModuleList(stages)
        self.info = FeatureInfo(
            tuple(_channels(features[:end]) for end in ends[1:]),
            tuple(2 ** sum(pool < end for pool in pools) for end in ends[1:]),
        )
        self.settle()

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1, >=32, >=32) in [-1, 1]."""
        return run_stages(self.stages, ((L + 1) / 2 - self.mean) / self.std)


def _channels(layers: nn.Sequential) -> int:
    """Return the channels after some layers."""
    return [module.out_channels for module in layers if isinstance(module, nn.Conv2d)][-1]
