"""The building block that the contracting path of pix2pix's U-Net and its PatchGAN share."""

from torch import nn

from lightning_colorize.networks.layers import Norm, norm_layer


class LeakyBlock(nn.Sequential):
    """Convolution 4x4, normalisation, LeakyReLU(0.2): (B, C, H, W) to (B, out_channels, h, w).

    A stride of 2 halves (odd sizes are rounded down), a stride of 1 takes a pixel off each side's
    length.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        norm: What follows the convolution.
        bias: Give the convolution a bias.
        stride: Of the convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm, bias: bool, stride: int = 2
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 4, stride, padding=1, bias=bias),
            norm_layer(norm, out_channels),
            nn.LeakyReLU(0.2, inplace=True),
        )
