"""The decoder of interpolation and convolutions."""

from typing import Literal

from torch import nn

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.decoders.pyramid import PyramidDecoder, Skips
from lightning_colorize.networks.layers import Norm


class UpsampleDecoder(PyramidDecoder):
    """Interpolation, then convolution, normalization, ReLU at each step: no checkerboards.

    Args:
        info: Channels and reductions of the encoder's levels.
        widths: Channels after each step of 2, coarsest first; null: halved from the encoder's at
            each step, but at least 32.
        convs: Convolutions after each interpolation, for all steps or per step; a
            step with 0 has no width of its own.
        bottom: Widths of convolutions before the first step; null: none.
        skips: Concatenate the encoder's level of the same size at each step; gated: times a
            learnt gate per pixel.
        norm: What follows each convolution.
        separable: Depthwise and pointwise convolutions in place of full ones.
        out_reduction: Stop at this reduction; the head interpolates the rest.
        mode: How to interpolate.
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
        mode: Literal["nearest", "bilinear"] = "bilinear",
        attention: int | None = None,
        global_context: bool = False,
        channel_dropout: float = 0.0,
    ) -> None:
        def double(channels: int, width: int) -> tuple[nn.Module, int]:
            return nn.Upsample(scale_factor=2, mode=mode), channels

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
