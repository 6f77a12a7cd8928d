"""The decoder with upsampling and convolutions."""

from typing import Literal

import torch
from torch import nn

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.decoders.pyramid import PyramidDecoder, Skips
from lightning_colorize.networks.layers import Norm, norm_layer

Mode = Literal["nearest", "bilinear", "transposed", "pixel_shuffle", "blurred_pixel_shuffle"]
"""How a step doubles the size."""


class UpsampleDecoder(PyramidDecoder):
    """Each step doubles the size, then applies convolutions with normalization and ReLU.

    Interpolation causes no checkerboard artifacts. `transposed` is a transposed convolution as in
    pix2pix and DCGAN: its kernel of 4 is a multiple of the stride of 2, so every pixel gets the
    same number of contributions (Odena et al. 2016). `pixel_shuffle` is a sub-pixel convolution
    (Shi et al. 2016), initialized as nearest interpolation. These two have their own normalization
    and ReLU.

    Args:
        info: Channels and reductions of the encoder's levels.
        widths: Channels after each step of 2, coarsest first; null: half of the previous step's,
            starting from the encoder's, but at least 32.
        convs: Number of convolutions after each doubling, for all steps or per step; with
            interpolation, a step with 0 keeps its input width.
        bottom: Widths of convolutions before the first step; null for none.
        skips: Concatenate the encoder's level of the same size at each step; gated: multiplied by a
            learned gate per pixel.
        norm: Normalization after each convolution.
        separable: Use depthwise and pointwise convolutions instead of full ones.
        out_reduction: Stop at this reduction; the head interpolates the rest.
        mode: How to double the size; `blurred_pixel_shuffle` averages over 2x2 after each shuffle,
            to avoid checkerboard artifacts (Sugawara et al. 2018).
        attention: Self-attention over the map at this reduction (16: at /16); null for none.
        global_context: Fuse the coarsest level with its mean over the image.
        channel_dropout: Dropout probability of the coarsest map's channels.

    Raises:
        ValueError: If `widths`, `convs`, `out_reduction` or `attention` do not fit the encoder.
    """

    def __init__(
        self,
        info: FeatureInfo,
        widths: list[int] | None = None,
        convs: int | list[int] = 1,
        bottom: list[int] | None = None,
        skips: Skips = False,
        norm: Norm = "batch",
        separable: bool = False,
        out_reduction: int = 1,
        mode: Mode = "bilinear",
        attention: int | None = None,
        global_context: bool = False,
        channel_dropout: float = 0.0,
    ) -> None:
        def double(channels: int, width: int) -> tuple[nn.Module, int]:
            if mode in ("nearest", "bilinear"):
                return nn.Upsample(scale_factor=2, mode=mode), channels
            if mode == "transposed":
                return TransposedBlock(channels, width, norm), width
            return PixelShuffleBlock(channels, width, norm, mode == "blurred_pixel_shuffle"), width

        super().__init__(
            info,
            double,
            widths,
            convs,
            bottom,
            skips,
            norm,
            separable,
            out_reduction,
            attention,
            global_context,
            channel_dropout,
        )


class TransposedBlock(nn.Sequential):
    """Transposed 4x4 convolution of stride 2, normalization, ReLU: (B, C, h, w) to (.., 2h, 2w)."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        conv = nn.ConvTranspose2d(
            in_channels, out_channels, 4, stride=2, padding=1, bias=norm == "none"
        )
        # Kaiming initialization for the 2 x 2 of 4 x 4 taps that contribute to an output pixel.
        nn.init.normal_(conv.weight, std=(2 / (in_channels * 4)) ** 0.5)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        super().__init__(conv, norm_layer(norm, out_channels), nn.ReLU(inplace=True))


class PixelShuffleBlock(nn.Sequential):
    """Pointwise convolution, pixel shuffle, normalization, ReLU: (B, C, h, w) to (.., 2h, 2w).

    ICNR initialization (Aitken et al. 2017): the four convolutions of a 2x2 block start equal.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, blur: bool) -> None:
        conv = nn.Conv2d(in_channels, 4 * out_channels, 1)
        one = torch.empty(out_channels, in_channels, 1, 1)
        nn.init.kaiming_normal_(one, nonlinearity="relu")
        conv.weight.data = one.repeat_interleave(4, dim=0)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        smoothing = [nn.ReplicationPad2d((1, 0, 1, 0)), nn.AvgPool2d(2, stride=1)] if blur else []
        super().__init__(
            conv,
            nn.PixelShuffle(2),
            norm_layer(norm, out_channels),
            nn.ReLU(inplace=True),
            *smoothing,
        )
