"""The building block that encoders and decoders share."""

import math
from typing import Literal

from torch import nn

Norm = Literal["batch", "instance", "group", "none"]
"""What follows a convolution; `none` gives the convolution a bias instead."""


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return the normalisation of `channels` maps, with learnt scale and shift.

    Group normalisation takes 32 groups as its paper does (Wu and He 2018), or as many as divide
    the channels.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if norm == "group":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    return nn.Identity()


class ConvBlock(nn.Sequential):
    """Convolution 3x3, normalisation, ReLU: (B, C, H, W) to (B, out_channels, H, W).

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        norm: What follows the convolution.
        separable: A depthwise 3x3 and a pointwise 1x1 convolution instead of a full 3x3, about
            an eighth of the work (MobileNet, Howard et al. 2017).
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
            # Nothing lies between the two, so only the second keeps the variance for a ReLU.
            nn.init.kaiming_normal_(convolutions[0].weight, nonlinearity="linear")
        else:
            convolutions = [nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)]
        nn.init.kaiming_normal_(convolutions[-1].weight, nonlinearity="relu")
        if bias:
            nn.init.zeros_(convolutions[-1].bias)  # type: ignore[arg-type]
        super().__init__(*convolutions, norm_layer(norm, out_channels), nn.ReLU(inplace=True))
