"""Palettes: the main colors of an image with their shares."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color.precision import full_precision

LARGEST = 5
"""Maximum number of colors of a palette."""

_STEPS = 10
_PIXELS = 32  # side to which ab is reduced


def palettes_from(ab: Tensor, counts: Tensor, starts: Tensor) -> Tensor:
    """Return the k-means clusters of true colors (Lloyd's algorithm), computed in fp32.

    Args:
        ab: (B, 2, H, W) in LAB units.
        counts: (B,), int64: the number of colors of each image, 1 to 5.
        starts: (B, 5) in [0, 1): which pixels the clusters start from.

    Returns:
        (B, 5, 3), fp32: a, b in LAB units and the share in 0..1. The shares of an image sum to 1;
        unused rows are 0.
    """
    small = F.interpolate(ab.float(), [min(_PIXELS, side) for side in ab.shape[-2:]], mode="area")
    pixels = small.flatten(2).transpose(1, 2)
    chosen = (starts.to(ab.device) * pixels.shape[1]).long()
    centers = pixels.gather(1, chosen[..., None].expand(-1, -1, 2))
    used = torch.arange(LARGEST, device=ab.device) < counts.to(ab.device)[:, None]
    with full_precision(ab):  # sums over pixels, and squared distances, exceed fp16
        for _ in range(_STEPS):
            distances = torch.cdist(pixels, centers).masked_fill(~used[:, None], torch.inf)
            member = F.one_hot(distances.argmin(-1), LARGEST).float().transpose(1, 2)
            sizes = member.sum(-1, keepdim=True)
            centers = torch.where(sizes > 0, member @ pixels / sizes.clamp(min=1), centers)
    shares = sizes / pixels.shape[1]
    return torch.cat([centers, shares], dim=-1) * (shares > 0)


def palettes_of(ab: Tensor) -> Tensor:
    """Return palettes of 5 colors, as `palettes_from` does; an image always has the same."""
    starts = (torch.arange(LARGEST) + 0.5) / LARGEST
    return palettes_from(ab, torch.full((len(ab),), LARGEST), starts.expand(len(ab), -1))


def simulated_palettes(ab: Tensor) -> Tensor:
    """Return `palettes_from` ab for training: of 1 to 5 colors, half of them with equal shares."""
    counts = torch.randint(1, LARGEST + 1, (len(ab),))
    palettes = palettes_from(ab, counts, torch.rand(len(ab), LARGEST))
    used = palettes[..., 2:] > 0
    equal = used / used.sum(1, keepdim=True)
    replaced = (torch.rand(len(ab), 1, 1) < 0.5).to(ab.device)
    shares = torch.where(replaced, equal, palettes[..., 2:])
    return torch.cat([palettes[..., :2], shares], dim=-1)
