"""Building blocks and initialization shared by encoders, decoders and discriminators."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_NORMS = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)

Norm = Literal["batch", "instance", "group", "none"]
"""Normalization after a convolution; with `none`, the convolution has a bias instead."""


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return a normalization layer for `channels` channels, with learned scale and shift.

    Group normalization uses 32 groups as in the paper (Wu and He 2018), or fewer that divide the
    channels.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if norm == "group":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    return nn.Identity()


class ConvBlock(nn.Sequential):
    """3x3 convolution, normalization, ReLU: (B, C, H, W) to (B, out_channels, H, W).

    If `separable`, a depthwise 3x3 and a pointwise 1x1 convolution instead of a full 3x3, at about
    an eighth of the cost (MobileNet, Howard et al. 2017).
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm = "batch", separable: bool = False
    ) -> None:
        bias = norm == "none"
        convolutions: list[nn.Conv2d]
        if separable:
            convolutions = [
                nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
                nn.Conv2d(in_channels, out_channels, 1, bias=bias),
            ]
            # There is nothing between the two, so only the second needs a ReLU gain.
            nn.init.kaiming_normal_(convolutions[0].weight, nonlinearity="linear")
        else:
            convolutions = [nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)]
        nn.init.kaiming_normal_(convolutions[-1].weight, nonlinearity="relu")
        if bias:
            nn.init.zeros_(convolutions[-1].bias)  # type: ignore[arg-type]
        super().__init__(*convolutions, norm_layer(norm, out_channels), nn.ReLU(inplace=True))


class LeakyBlock(nn.Sequential):
    """4x4 convolution, normalization, LeakyReLU(0.2): (B, C, H, W) to (B, out_channels, h, w).

    A stride of 2 halves the size (rounded down); a stride of 1 reduces it by one pixel.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm, bias: bool, stride: int = 2
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 4, stride, padding=1, bias=bias),
            norm_layer(norm, out_channels),
            nn.LeakyReLU(0.2, inplace=True),
        )


def run_stages(stages: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Return the outputs of consecutive modules."""
    features = []
    for stage in stages:
        x = stage(x)
        features.append(x)
    return features


def at_size(x: Tensor, size: Sequence[int], mode: str = "bilinear") -> Tensor:
    """Return a map resized to a height and width."""
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode=mode)


def init_normal(module: nn.Module) -> None:
    """Initialize weights as in DCGAN and pix2pix (Radford et al. 2016, Isola et al. 2017).

    Convolutions from N(0, 0.02), scales of normalizations from N(1, 0.02), all biases 0. Apply a
    spectral norm afterwards, because it starts from the existing weights.
    """
    for part in module.modules():
        if isinstance(part, _CONVOLUTIONS + _NORMS):
            nn.init.normal_(part.weight, float(isinstance(part, _NORMS)), 0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def parameter_count(module: nn.Module) -> tuple[int, int]:
    """Return the numbers of trainable and of frozen parameters."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    return trainable, frozen
