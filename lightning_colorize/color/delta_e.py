"""CIEDE2000, the perceptual difference of two colors."""

import math

import torch
from torch import Tensor

# Hues closer to opposite than this count as exactly opposite. Otherwise fp32 rounding would decide
# on which side the mean hue lies.
_OPPOSITE = 2e-6


def ciede2000(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Return the CIEDE2000 difference of each pixel, with all weights 1.

    Sharma, Wu & Dalal, "The CIEDE2000 color-difference formula", 2005. The value is finite
    everywhere. The gradient at equal colors is not, so use it as a metric, not as a loss.

    Each image is L, (..., 1, H, W) in [0, 100], and ab, (..., 2, H, W) in LAB units. Returns
    (..., 1, H, W), fp32, at least 0; about 1 is just noticeable.
    """
    L1, L2 = first[0].float(), second[0].float()
    (a1, b1), (a2, b2) = (ab.float().chunk(2, dim=-3) for _, ab in (first, second))
    # Equations 2 to 22 of the paper, with angles in radians.
    stretch = 1.5 - 0.5 * _high_chroma((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2)
    a1, a2 = a1 * stretch, a2 * stretch
    C1, C2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = torch.atan2(b1, a1) % math.tau, torch.atan2(b2, a2) % math.tau

    # The hue of a grey is arbitrary, but all terms with it are multiplied by the product of the
    # chromas, which is 0.
    hue_difference = h2 - h1
    wraps = hue_difference.abs() > math.pi + _OPPOSITE
    mean_hue = (h1 + h2) / 2 + math.pi * wraps
    # A full turn changes the sign of the sine of half the angle.
    sign = torch.where(wraps, -1.0, 1.0)
    dH = 2 * (C1 * C2).sqrt() * sign * torch.sin(hue_difference / 2)

    lightness = ((L1 + L2) / 2 - 50) ** 2
    mean_C = (C1 + C2) / 2
    T = (
        1
        - 0.17 * torch.cos(mean_hue - math.radians(30))
        + 0.24 * torch.cos(2 * mean_hue)
        + 0.32 * torch.cos(3 * mean_hue + math.radians(6))
        - 0.20 * torch.cos(4 * mean_hue - math.radians(63))
    )
    dL = (L2 - L1) / (1 + 0.015 * lightness / (20 + lightness).sqrt())
    dC = (C2 - C1) / (1 + 0.045 * mean_C)
    dH = dH / (1 + 0.015 * mean_C * T)

    blue = torch.exp(-(((torch.rad2deg(mean_hue % math.tau) - 275) / 25) ** 2))
    rotation = -2 * _high_chroma(mean_C) * torch.sin(math.radians(60) * blue)
    return (dL**2 + dC**2 + dH**2 + rotation * dC * dH).sqrt()


def _high_chroma(C: Tensor) -> Tensor:
    """Return sqrt(C**7 / (C**7 + 25**7)): 0 for grey, near 1 for saturated colors."""
    seventh = (C / 25) ** 7
    return (seventh / (seventh + 1)).sqrt()
