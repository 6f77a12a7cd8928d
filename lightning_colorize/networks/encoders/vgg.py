"""VGG16's convolutional base."""

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import VGG16_Weights, vgg16

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

    Raises:
        WeightsError: If weights are unavailable or do not fit, or `frozen` is set without weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, pretrained: bool = False, weights: Path | None = None, frozen: bool = False
    ) -> None:
        super().__init__(pretrained, weights, frozen, norm_eval=False)
        # The classifier's 124 million parameters are never allocated.
        with torch.device("meta"):
            features = vgg16(weights=None).features
        network = nn.ModuleDict({"features": features.to_empty(device="cpu")})
        published = VGG16_Weights.IMAGENET1K_V1
        if not self.load_torchvision(network, published, classifier="classifier."):
            for module in features.modules():
                if isinstance(module, nn.Conv2d):  # like torchvision's initialization
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                    nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        ends = [0, *(i + 1 for i, m in enumerate(features) if isinstance(m, nn.MaxPool2d))]
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        stages = [features[start:end] for start, end in pairwise(ends)]
        self.keep_levels(stages, (64, 128, 256, 512, 512))

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1, >=32, >=32) in [-1, 1]."""
        return run_stages(self.stages, ((L + 1) / 2 - self.mean) / self.std)
