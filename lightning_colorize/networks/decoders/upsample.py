"""The decoder that doubles the size step by step, with or without skips."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_colorize.networks.base import Decoder, FeatureInfo
from lightning_colorize.networks.decoders.context import GlobalContext, SelfAttention, SkipGate
from lightning_colorize.networks.layers import ConvBlock, Norm, at_size, norm_layer

Mode = Literal["nearest", "bilinear", "transposed", "pixel_shuffle", "blurred_pixel_shuffle"]
"""How a step doubles the size."""

Skips = bool | Literal["gated"]
"""Whether steps concatenate the encoder's level of the same size, and whether through a gate."""


class DecoderStep(nn.Module):
    """Upsampling by 2, concatenation with the encoder's level of the new size, convolutions."""

    def __init__(
        self,
        upsampling: nn.Module,
        blocks: nn.Module,
        gate: SkipGate | None = None,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.blocks = blocks
        self.gate = gate
        self.norm = norm or nn.Identity()

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Return (B, width, 2h, 2w), or at the skip's size, for x: (B, C, h, w)."""
        x = self.upsampling(x)
        if skip is not None:
            skip = self.norm(skip)
            # The encoder rounds odd sizes down: 131 pixels are 65 at /2, then 130.
            x = at_size(x, skip.shape[-2:], "nearest")
            x = torch.cat([x, skip if self.gate is None else self.gate(skip, x)], dim=1)
        decoded: Tensor = self.blocks(x)
        return decoded


class UpsampleDecoder(Decoder):
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
        norm_levels: Batch norm of the coarsest level and of those that are concatenated, as in
            fastai's DynamicUnet: some encoders' channels differ in scale by a factor of 100.

    Attributes:
        map_channels: Channels of the maps that `maps` returns.

    Raises:
        ValueError: If `mode` is unknown, or another argument does not fit the encoder.
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
        norm_levels: bool = False,
    ) -> None:
        super().__init__()
        coarsest = info.reductions[-1]
        count = _steps(coarsest, out_reduction)
        if widths is None:
            widths = [max(min(info.channels[-1], 512) >> (i + 1), 32) for i in range(count)]
        counts = [convs] * count if isinstance(convs, int) else convs
        for name, given in (("widths", widths), ("convs", counts)):
            if len(given) != count:
                raise ValueError(
                    f"{name} has {len(given)} numbers; from /{coarsest} to /{out_reduction} "
                    f"there are {count} steps"
                )
        reductions = [coarsest >> step for step in range(count + 1)]
        if attention is not None and attention not in reductions:
            maps = ", ".join(f"/{reduction}" for reduction in reductions)
            raise ValueError(f"attention is {attention}; the decoder has maps at {maps}")
        by_reduction = {r: i for i, r in enumerate(info.reductions)}
        channels = info.channels[-1]
        blocks: list[nn.Module] = [LevelNorm(channels)] if norm_levels else []
        if global_context:
            blocks.append(GlobalContext(channels))
        for width in bottom or []:
            blocks.append(ConvBlock(channels, width, norm, separable))
            channels = width
        if attention == coarsest:
            blocks.append(SelfAttention(channels))
        self.map_channels = [channels]
        self.bottom = nn.Sequential(*blocks)
        self.dropout = nn.Dropout2d(channel_dropout)
        self.levels: list[int | None] = []
        steps = []
        for step, (width, number) in enumerate(zip(widths, counts, strict=True)):
            doubling = _doubling(mode, channels, width, norm)
            channels = channels if isinstance(doubling, nn.Upsample) else width
            level = by_reduction.get(reductions[step + 1]) if skips else None
            gate = level_norm = None
            if level is not None:
                level_norm = LevelNorm(info.channels[level]) if norm_levels else None
                gate = SkipGate(info.channels[level], channels) if skips == "gated" else None
                channels += info.channels[level]
            self.levels.append(level)
            blocks = []
            for _ in range(number):
                blocks.append(ConvBlock(channels, width, norm, separable))
                channels = width
            if attention == reductions[step + 1]:
                blocks.append(SelfAttention(channels))
            steps.append(DecoderStep(doubling, nn.Sequential(*blocks), gate, level_norm))
            self.map_channels.append(channels)
        self.steps = nn.ModuleList(steps)
        self.out_channels = channels

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return (B, out_channels, ~H/out_reduction, ~W/out_reduction)."""
        return self.maps(features)[-1]

    def maps(self, features: list[Tensor]) -> list[Tensor]:
        """Return the maps before the first step and after each, coarsest first."""
        maps: list[Tensor] = [self.dropout(self.bottom(features[-1]))]
        for step, level in zip(self.steps, self.levels, strict=True):
            maps.append(step(maps[-1], None if level is None else features[level]))
        return maps


class LevelNorm(nn.BatchNorm2d):
    """Batch norm, by its running statistics if a training batch has one value per channel."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the normed features, (B, C, h, w)."""
        if self.training and features.numel() == features.shape[1]:
            given = self.running_mean, self.running_var, self.weight, self.bias
            return F.batch_norm(features, *given, eps=self.eps)
        return super().forward(features)


def _steps(coarsest: int, out_reduction: int) -> int:
    """Return the number of doublings from one reduction to the other."""
    ratio, rest = divmod(coarsest, out_reduction)
    if rest or ratio < 2 or ratio & (ratio - 1):
        raise ValueError(
            f"out_reduction is {out_reduction}; the encoder's coarsest level, /{coarsest}, must be "
            "2, 4, 8, ... times that"
        )
    return ratio.bit_length() - 1


def _doubling(mode: Mode, channels: int, width: int, norm: Norm) -> nn.Module:
    """Return the module that doubles the size; interpolation keeps the channels."""
    if mode in ("nearest", "bilinear"):
        return nn.Upsample(scale_factor=2, mode=mode)
    if mode == "transposed":
        bias = norm == "none"
        conv: nn.Conv2d | nn.ConvTranspose2d
        conv = nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1, bias=bias)
        # Kaiming initialization for the 2 x 2 of 4 x 4 taps that contribute to an output pixel.
        nn.init.normal_(conv.weight, std=(2 / (channels * 4)) ** 0.5)
        layers: list[nn.Module] = [conv]
    elif mode in get_args(Mode):
        conv = nn.Conv2d(channels, 4 * width, 1)
        # ICNR (Aitken et al. 2017): the four convolutions of a 2x2 block start equal.
        one = nn.init.kaiming_normal_(torch.empty(width, channels, 1, 1), nonlinearity="relu")
        conv.weight.data = one.repeat_interleave(4, dim=0)
        layers = [conv, nn.PixelShuffle(2)]
    else:
        raise ValueError(f"mode is {mode}; accepted are {', '.join(get_args(Mode))}")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    layers += [norm_layer(norm, width), nn.ReLU(inplace=True)]
    if mode == "blurred_pixel_shuffle":
        layers += [nn.ReplicationPad2d((1, 0, 1, 0)), nn.AvgPool2d(2, stride=1)]
    return nn.Sequential(*layers)
