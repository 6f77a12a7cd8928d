"""A decoder with color queries."""

import torch
from torch import Tensor, nn

from lightning_colorize.networks.base import Decoder, FeatureInfo
from lightning_colorize.networks.decoders.context import head_count
from lightning_colorize.networks.decoders.upsample import Mode, UpsampleDecoder
from lightning_colorize.networks.layers import Norm

_SCALES = 3


class ColorQueryDecoder(Decoder):
    """Learned color queries that attend to the image at several scales (DDColor, Kang et al. 2023).

    A pixel decoder (`UpsampleDecoder` with skips) computes maps from coarse to fine. Transformer
    layers refine the queries: each attends to the other queries and to one of the maps, from the
    coarsest up to the third, but never to the finest. The output is the dot product of each query
    with each pixel of the finest map: one affinity map per query, from which the head computes the
    color.

    Unlike in DDColor, queries are initialized randomly instead of as zeros with added positions,
    layers are PyTorch's (self-attention comes first), and pixels have no sine position encoding.

    Args:
        info: Channels and reductions of the encoder's levels.
        queries: Number of queries, which is the number of output channels.
        width: Channels of the queries.
        rounds: Number of times that the queries attend to each map.
        widths: Channels of the pixel decoder after each step of 2, coarsest first; null: half of
            the previous step's, starting from the encoder's, but at least 32.
        convs: The pixel decoder's convolutions after each interpolation, for all steps or per step.
        norm: Normalization after each of these convolutions.
        separable: Use depthwise and pointwise convolutions instead of full ones.
        out_reduction: Stop at this reduction; the head interpolates the rest.
        mode: How the pixel decoder doubles the size; DDColor: blurred_pixel_shuffle.

    Raises:
        ValueError: If `widths`, `convs` or `out_reduction` do not fit the encoder.
    """

    def __init__(
        self,
        info: FeatureInfo,
        queries: int = 100,
        width: int = 256,
        rounds: int = 3,
        widths: list[int] | None = None,
        convs: int | list[int] = 1,
        norm: Norm = "batch",
        separable: bool = False,
        out_reduction: int = 4,
        mode: Mode = "bilinear",
    ) -> None:
        super().__init__()
        self.pixels = UpsampleDecoder(
            info,
            widths,
            convs,
            skips=True,
            norm=norm,
            separable=separable,
            out_reduction=out_reduction,
            mode=mode,
        )
        coarse = self.pixels.map_channels[:-1][:_SCALES]
        self.scales = nn.ModuleList([nn.Conv2d(channels, width, 1) for channels in coarse])
        self.scale_norms = nn.ModuleList([nn.LayerNorm(width) for _ in coarse])
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.layers = nn.ModuleList(
            [
                nn.TransformerDecoderLayer(
                    width,
                    head_count(width),
                    dim_feedforward=4 * width,
                    dropout=0.0,
                    activation="gelu",
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(rounds * len(coarse))
            ]
        )
        self.norm = nn.LayerNorm(width)
        self.embedding = nn.Linear(width, self.pixels.out_channels)
        self.out_channels = queries

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the affinity of pixels to queries: (B, queries, ~H/out_reduction, ~W/..)."""
        *coarse, pixels = self.pixels.maps(features)
        scales = [
            norm(scale(level).flatten(2).transpose(1, 2))
            for scale, norm, level in zip(
                self.scales, self.scale_norms, coarse[:_SCALES], strict=True
            )
        ]
        queries = self.queries.expand(pixels.shape[0], -1, -1)
        for number, layer in enumerate(self.layers):
            queries = layer(queries, scales[number % len(scales)])
        return affinity(self.embedding(self.norm(queries)), pixels)


def affinity(queries: Tensor, pixels: Tensor) -> Tensor:
    """Return queries, (B, N, C), times pixels, (B, C, H, W), over sqrt(C): (B, N, H, W)."""
    scaled = queries / queries.shape[-1] ** 0.5
    products: Tensor = scaled @ pixels.flatten(2)
    return products.view(*products.shape[:2], *pixels.shape[-2:])
