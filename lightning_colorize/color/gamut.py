"""Bringing predicted colours into sRGB without moving their lightness or hue.

Only 16.9 % of L x [-110, 110]^2 is inside sRGB, and clipping in RGB moves L* by 6 on average.
"""

import torch
from torch import Tensor

from lightning_colorize.color.lab import to_rgb

_TOLERANCE = 1e-4


def fit_gamut(L: Tensor, ab: Tensor, *, steps: int = 12) -> Tensor:
    """Shrink the chroma of what lies outside sRGB, at constant L* and hue, until it fits.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab: (B, 2, H, W) in LAB units.
        steps: Bisections; the chroma is exact to 2**-steps of itself.

    Returns:
        ab: (B, 2, H, W) in LAB units, fp32; colours inside sRGB are returned as they were.
    """
    L, ab = L.float(), ab.float()
    outside = _outside(L, ab)
    if not outside.any():
        return ab
    # Only the pixels outside are searched: on most images they are few.
    mask = outside[:, 0]
    lightness = L[:, 0][mask].view(1, 1, 1, -1)
    colour = ab.movedim(1, -1)[mask].T.reshape(1, 2, 1, -1)
    low, high = torch.zeros_like(lightness), torch.ones_like(lightness)
    for _ in range(steps):
        middle = (low + high) / 2
        too_far = _outside(lightness, colour * middle)
        low, high = torch.where(too_far, low, middle), torch.where(too_far, middle, high)
    fitted = ab.movedim(1, -1).clone()
    fitted[mask] = (colour * low)[0, :, 0].T
    return fitted.movedim(-1, 1)


def _outside(L: Tensor, ab: Tensor) -> Tensor:
    """Return which pixels leave sRGB: (B, 1, H, W), bool."""
    rgb = to_rgb(L, ab, clip=False)
    return ((rgb < -_TOLERANCE) | (rgb > 1 + _TOLERANCE)).any(dim=1, keepdim=True)
