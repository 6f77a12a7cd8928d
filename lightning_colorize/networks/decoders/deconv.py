"""The decoder of transposed convolutions."""

from torch import nn

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.decoders.pyramid import PyramidDecoder, Skips
from lightning_colorize.networks.layers import Norm, norm_layer


class DeconvDecoder(PyramidDecoder):
    """A transposed convolution, normalization, ReLU at each step (as in pix2pix and DCGAN).

    The kernel of 4 is a multiple of the stride of 2, so every pixel gets as many contributions
    (Odena et al. 2016).

    Args:
        info: Channels and reductions of the encoder's levels.
        widths: Channels after each step of 2, coarsest first; null: halved from the encoder's at
            each step, but at least 32.
        convs: Further convolutions at each step, for all steps or per step; 0: none.
        bottom: Widths of convolutions before the first step; null: none.
        skips: Concatenate the encoder's level of the same size at each step; gated: times a
            learnt gate per pixel.
        norm: What follows each convolution.
        separable: Depthwise and pointwise convolutions in place of full ones.
        out_reduction: Stop at this reduction; the head interpolates the rest.
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
        convs: int | list[int] = 0,
        bottom: list[int] | None = None,
        skips: Skips = False,
        norm: Norm = "batch",
        separable: bool = False,
        out_reduction: int = 1,
        attention: int | None = None,
        global_context: bool = False,
        channel_dropout: float = 0.0,
    ) -> None:
        def double(channels: int, width: int) -> tuple[nn.Module, int]:
            return TransposedBlock(channels, width, norm), width

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
    """Transposed convolution 4x4 of stride 2, normalization, ReLU: (B, C, h, w) to (.., 2h, 2w)."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        conv = nn.ConvTranspose2d(
            in_channels, out_channels, 4, stride=2, padding=1, bias=norm == "none"
        )
        # Kaiming initialization for the 2 x 2 of 4 x 4 taps that an output pixel sums.
        nn.init.normal_(conv.weight, std=(2 / (in_channels * 4)) ** 0.5)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        super().__init__(conv, norm_layer(norm, out_channels), nn.ReLU(inplace=True))
