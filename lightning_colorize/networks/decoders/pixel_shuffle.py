"""The decoder of pixel shuffles."""

import torch
from torch import nn

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.decoders.pyramid import PyramidDecoder, Skips
from lightning_colorize.networks.layers import Norm, norm_layer


class PixelShuffleDecoder(PyramidDecoder):
    """Sub-pixel convolution at each step (Shi et al. 2016), initialized as nearest interpolation.

    Args:
        info: Channels and reductions of the encoder's levels.
        widths: Channels after each step of 2, coarsest first; null: halved from the encoder's at
            each step, but at least 32.
        convs: Convolutions after each shuffle, for all steps or per step; 0: none.
        bottom: Widths of convolutions before the first step; null: none.
        skips: Concatenate the encoder's level of the same size at each step; gated: times a
            learnt gate per pixel.
        norm: What follows each convolution.
        separable: Depthwise and pointwise convolutions in place of full ones.
        out_reduction: Stop at this reduction; the head interpolates the rest.
        blur: Average over 2x2 after each shuffle, against checkerboards (Sugawara et al. 2018).
        attention: Self-attention over the map at this reduction (16: at /16); null: none.
        global_context: Fuse the coarsest level with its mean over the image.
        channel_dropout: Share of the coarsest map's channels that training drops.

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
        blur: bool = False,
        attention: int | None = None,
        global_context: bool = False,
        channel_dropout: float = 0.0,
    ) -> None:
        def double(channels: int, width: int) -> tuple[nn.Module, int]:
            return PixelShuffleBlock(channels, width, norm, blur), width

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


class PixelShuffleBlock(nn.Sequential):
    """Pointwise convolution, shuffle, normalization, ReLU: (B, C, h, w) to (.., 2h, 2w).

    ICNR (Aitken et al. 2017): the four convolutions of a 2x2 block start equal.
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
