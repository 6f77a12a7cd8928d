"""The network that predicts a step from noise to colors, on a small map."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_colorize.networks.base import Recorded
from lightning_colorize.networks.decoders.context import SelfAttention
from lightning_colorize.networks.network import crop

_FREQUENCIES = 32  # of the embedding of time


class Denoiser(Recorded, nn.Module):
    """A U-Net of two levels on 2x2 patches of ab, with attention at the coarser level.

    Its blocks are ConvNeXt's (Liu et al. 2022), whose norm is shifted and scaled by the time. The
    image only enters through `context`, which is computed once for all steps and samples.

    Args:
        in_channels: Channels of the decoder's map.
        width: Channels of the finer level; the coarser one has one and a half times as many.
        blocks: Number of blocks in the finer level before and after the coarser one, and in that.

    Raises:
        ValueError: If `width` is odd, or not all `blocks` are positive.
    """

    def __init__(
        self, in_channels: int, width: int = 96, blocks: tuple[int, int, int] = (1, 3, 2)
    ) -> None:
        super().__init__()
        if width % 2 or min(blocks) < 1:
            raise ValueError(f"width {width} must be even, and blocks {blocks} at least 1")
        coarse = width * 3 // 2
        self.image = nn.Conv2d(in_channels + 4, width, 2, stride=2)
        self.patches = nn.Conv2d(8, width, 3, padding=1)
        self.time = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        first, middle, last = blocks
        self.first = nn.ModuleList(_Block(width, width) for _ in range(first))
        self.down = nn.Conv2d(width, coarse, 2, stride=2)
        self.middle = nn.ModuleList(_Block(coarse, width) for _ in range(middle))
        self.attention = nn.ModuleList(SelfAttention(coarse) for _ in range(middle))
        self.up = nn.Conv2d(coarse, width, 1)
        self.fuse = nn.Conv2d(2 * width, width, 1)
        self.last = nn.ModuleList(_Block(width, width) for _ in range(last))
        self.norm = nn.GroupNorm(1, width)
        self.out = nn.Conv2d(width, 8, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def context(self, features: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        """Return what the steps need to know of the image: (B, width, h / 2, w / 2), rounded up.

        Args:
            features: The decoder's map, (B, in_channels, h, w).
            mean: Mean of ab, (B, 2, h, w) in [-1, 1].
            spread: Its standard deviation, the same shape.
        """
        known = torch.cat([mean, spread.log()], dim=1).to(features.dtype)
        context: Tensor = self.image(_even(torch.cat([features, known], dim=1)))
        return context

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Return the prediction of the objective, such as a velocity: (N, 2, h, w).

        Args:
            x: Noisy residual colors, (N, 2, h, w).
            time: (N,) in [0, 1], or (1,) for all.
            context: As `context` returns it, (N, width, ...); zeros for no image.
        """
        embedded = self.time(_embedding(time.to(x.dtype)))
        y = self.patches(F.pixel_unshuffle(_even(x), 2)) + context
        for block in self.first:
            y = block(y, embedded)
        skip = y
        y = self.down(_even(y))
        for block, attention in zip(self.middle, self.attention, strict=True):
            y = attention(block(y, embedded))
        y = F.interpolate(self.up(y), scale_factor=2, mode="nearest")
        y = self.fuse(torch.cat([skip, crop(y, *skip.shape[-2:])], dim=1))
        for block in self.last:
            y = block(y, embedded)
        predicted = F.pixel_shuffle(self.out(F.silu(self.norm(y))), 2)
        return crop(predicted, *x.shape[-2:])


class _Block(nn.Module):
    """Depthwise 7x7 convolution, norm with the time's shift and scale, inverted bottleneck."""

    def __init__(self, channels: int, time: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.GroupNorm(1, channels)
        self.time = nn.Linear(time, 2 * channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.reduce = nn.Conv2d(2 * channels, channels, 1)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return x plus the block's output: (N, channels, h, w)."""
        scale, shift = self.time(time)[..., None, None].chunk(2, dim=1)
        y = self.norm(self.depthwise(x)) * (1 + scale) + shift
        added: Tensor = self.reduce(F.gelu(self.expand(y)))
        return x + added


def _even(x: Tensor) -> Tensor:
    """Repeat the last row and column of maps with odd sides."""
    return F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), mode="replicate")


def _embedding(time: Tensor) -> Tensor:
    """Return sines and cosines of times in [0, 1], (N,): (N, 2 * _FREQUENCIES)."""
    powers = torch.linspace(0, math.log(1000), _FREQUENCIES, device=time.device, dtype=time.dtype)
    angles = time[:, None] * powers.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=1)
