"""The base of all decoders: steps of 2 from the coarsest level up, with or without skips."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_colorize.networks.base import Decoder, FeatureInfo
from lightning_colorize.networks.decoders.context import GlobalContext, SelfAttention, SkipGate
from lightning_colorize.networks.layers import ConvBlock, Norm

Skips = bool | Literal["gated"]
"""Whether steps concatenate the encoder's level of the same size, and whether through a gate."""

Upsampling = Callable[[int, int], tuple[nn.Module, int]]
"""Maps input channels and width to a module that doubles the size, and its output channels."""


class DecoderStep(nn.Module):
    """Upsampling by 2, concatenation with the encoder's level of the new size, convolutions."""

    def __init__(
        self, upsampling: nn.Module, blocks: nn.Module, gate: SkipGate | None = None
    ) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.blocks = blocks
        self.gate = gate

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Return (B, width, 2h, 2w), or at the skip's size, for x: (B, C, h, w)."""
        x = self.upsampling(x)
        if skip is not None:
            # The encoder rounds odd sizes down: 131 pixels are 65 at /2, then 130.
            if x.shape[-2:] != skip.shape[-2:]:
                x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = torch.cat([x, skip if self.gate is None else self.gate(skip, x)], dim=1)
        decoded: Tensor = self.blocks(x)
        return decoded


class PyramidDecoder(Decoder):
    """Steps of 2 from the coarsest level to `out_reduction` input pixels per map pixel.

    `upsampling` builds the modules that double the size. The other arguments are the same as in
    `UpsampleDecoder`.

    Attributes:
        map_channels: Channels of the maps that `maps` returns.

    Raises:
        ValueError: If the arguments do not fit the encoder.
    """

    def __init__(
        self,
        info: FeatureInfo,
        upsampling: Upsampling,
        widths: list[int] | None = None,
        convs: int | list[int] = 1,
        bottom: list[int] | None = None,
        skips: Skips = False,
        norm: Norm = "batch",
        separable: bool = False,
        out_reduction: int = 1,
        attention: int | None = None,
        global_context: bool = False,
        channel_dropout: float = 0.0,
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
        blocks: list[nn.Module] = [GlobalContext(channels)] if global_context else []
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
            doubling, channels = upsampling(channels, width)
            level = by_reduction.get(reductions[step + 1]) if skips else None
            gate = None
            if level is not None:
                gate = SkipGate(info.channels[level], channels) if skips == "gated" else None
                channels += info.channels[level]
            self.levels.append(level)
            blocks = []
            for _ in range(number):
                blocks.append(ConvBlock(channels, width, norm, separable))
                channels = width
            if attention == reductions[step + 1]:
                blocks.append(SelfAttention(channels))
            steps.append(DecoderStep(doubling, nn.Sequential(*blocks), gate))
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


def _steps(coarsest: int, out_reduction: int) -> int:
    """Return the number of doublings from one reduction to the other."""
    ratio, rest = divmod(coarsest, out_reduction)
    if rest or ratio < 2 or ratio & (ratio - 1):
        raise ValueError(
            f"out_reduction is {out_reduction}; the encoder's coarsest level, /{coarsest}, must be "
            "2, 4, 8, ... times that"
        )
    return ratio.bit_length() - 1
