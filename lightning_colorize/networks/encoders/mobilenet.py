"""MobileNetV2 for one input channel: the encoder for training on a CPU."""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from lightning_colorize.networks.encoders.pretrained import (
    PretrainedEncoder,
    fit_channels,
    normalize_input,
)
from lightning_colorize.networks.layers import run_stages


class MobileNetV2Encoder(PretrainedEncoder):
    """torchvision's MobileNetV2 (Sandler et al. 2018), its first convolution summed over RGB.

    Levels: the last block of each size, /2 (16 channels), /4 (24), /8 (32), /16 (96), /32 (320);
    without the classifier's widening to 1280 channels.

    Args:
        levels: Number of levels; 4 have 0.5 of the 1.8 million parameters.
        normalization: Input range of the weights: `imagenet` (torchvision's mean and standard
            deviation) or `half` (RGB / 127.5 - 1, TensorFlow's).
        pretrained: Download torchvision's ImageNet weights.
        weights: A state dict in torchvision's form, with any number of classes, instead of
            download; batch norms may be folded (identity with a shift).
        frozen: Train nothing; batch norms keep their statistics.
        norm_eval: Batch norms keep their statistics while the rest trains; null: where weights
            are loaded. Folded ones must.

    Raises:
        WeightsError: If weights are unavailable or do not fit, or `frozen` is set without weights.
        ValueError: If `levels` is not 1 to 5.
    """

    def __init__(
        self,
        levels: int = 5,
        normalization: Literal["imagenet", "half"] = "imagenet",
        pretrained: bool = False,
        weights: Path | None = None,
        frozen: bool = False,
        norm_eval: bool | None = None,
    ) -> None:
        super().__init__(pretrained, weights, frozen, norm_eval)
        self.normalization = normalization
        network = mobilenet_v2(weights=None)
        published = MobileNet_V2_Weights.IMAGENET1K_V1
        self.load_torchvision(network, published, classifier="classifier.")
        for block in network.features[1:-1]:
            if block.stride == 2:
                block.conv[1][0] = Float32DepthwiseConv2d(block.conv[1][0])
        blocks = network.features
        blocks[0][0] = fit_channels(blocks[0][0])
        stages = [blocks[start:end] for start, end in pairwise((0, 2, 4, 7, 14, 18))]
        self.keep_levels(stages, (16, 24, 32, 96, 320), levels)

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1, H, W) in [-1, 1]."""
        x = normalize_input(L) if self.normalization == "imagenet" else L
        return run_stages(self.stages, x)


class Float32DepthwiseConv2d(nn.Module):
    """A depthwise convolution of stride 2 that runs in fp32 on the CPU.

    oneDNN has no fast backward for it in bf16: MobileNetV2's four take 310 ms forward and backward
    (batch 32 of 128x128, channels last, one core of an EPYC), and 31 ms in fp32.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = conv.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, ceil(H / 2), ceil(W / 2)) of x's type, for x: (B, C, H, W)."""
        channels = x.shape[1]
        if x.device.type != "cpu":
            return F.conv2d(x, self.weight, stride=2, padding=1, groups=channels)
        with torch.autocast("cpu", enabled=False):
            y = F.conv2d(x.float(), self.weight.float(), stride=2, padding=1, groups=channels)
        return y.to(x.dtype)
