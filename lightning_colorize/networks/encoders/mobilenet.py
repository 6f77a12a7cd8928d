"""MobileNetV2 for one input channel, recommended for training on a CPU."""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from lightning_colorize.networks.encoders.pretrained import PretrainedEncoder, fit_channels


class MobileNetV2Encoder(PretrainedEncoder):
    """torchvision's MobileNetV2 (Sandler et al. 2018), with the first convolution summed over RGB.

    Levels: the last block of each size, /2 (16 channels), /4 (24), /8 (32), /16 (96), /32 (320);
    without the classifier's expansion to 1280 channels.

    Args:
        levels: Number of levels; 4 levels have 0.5 of the 1.8 million parameters.
        normalization: Input range of the weights: `imagenet` (torchvision's mean and standard
            deviation) or `half` (RGB / 127.5 - 1, TensorFlow's).
        pretrained: Download torchvision's ImageNet weights.
        weights: File with a state dict in torchvision's format, with any number of classes, instead
            of a download; batch norms may be folded (identity with a shift).
        frozen: Freeze all parameters and batch norm statistics.
        norm_eval: Keep batch norm statistics fixed during training; null: if weights are loaded.
            Required for folded batch norms.

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


class Float32DepthwiseConv2d(nn.Module):
    """A depthwise convolution of stride 2 that runs in fp32 on the CPU.

    oneDNN has no fast backward pass for it in bf16: MobileNetV2's four layers take 310 ms forward
    and backward (batch 32 of 128x128, channels last, one core of an EPYC), and 31 ms in fp32.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = conv.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, ceil(H / 2), ceil(W / 2)) with x's dtype, for x: (B, C, H, W)."""
        channels = x.shape[1]
        if x.device.type != "cpu":
            return F.conv2d(x, self.weight, stride=2, padding=1, groups=channels)
        with torch.autocast("cpu", enabled=False):
            y = F.conv2d(x.float(), self.weight.float(), stride=2, padding=1, groups=channels)
        return y.to(x.dtype)
