"""Gamut mapping to sRGB at constant lightness and hue.

Only 16.9 % of L x [-110, 110]^2 is inside sRGB, and clipping in RGB moves L* by 6 on average.
"""

import torch
from torch import Tensor

from lightning_colorize.color.lab import linear_to_srgb, to_linear_rgb

# Linear RGB at 1e-4 outside sRGB.
_LOWEST = -1e-4 / 12.92
_HIGHEST = ((1 + 1e-4 + 0.055) / 1.055) ** 2.4
# Each step divides the interval of the chroma; its relative error at the end is 8**-4. Halving
# would need fewer values, but three times as many operations, and takes longer for few pixels.
_PARTS, _STEPS = 8, 4


def fit_gamut(L: Tensor, ab: Tensor) -> Tensor:
    """Reduce the chroma of colors outside sRGB, at constant L* and hue, until they fit.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab: (B, 2, H, W) in LAB units.

    Returns:
        ab: (B, 2, H, W) in LAB units, fp32; colors inside sRGB are unchanged.
    """
    L, ab = L.float(), ab.float()
    places = _places_outside(to_linear_rgb(L, ab))
    if not len(places[0]):
        return ab
    _, colors = _fit_pixels(L, ab, places)
    return _replace(ab.clone(), places, colors)


def to_rgb_in_gamut(L: Tensor, ab: Tensor) -> Tensor:
    """Return `to_rgb(L, fit_gamut(L, ab))` in half the time.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab: (B, 2, H, W) in LAB units.

    Returns:
        sRGB, (B, 3, H, W), fp32, in 0..1.
    """
    L, ab = L.float(), ab.float()
    linear = to_linear_rgb(L, ab)
    places = _places_outside(linear)
    # A graph cannot choose by its values.
    if torch.compiler.is_exporting() or len(places[0]):
        linear = _replace(linear, places, to_linear_rgb(*_fit_pixels(L, ab, places)))
    return linear_to_srgb(linear).clamp(0.0, 1.0)


_Places = tuple[Tensor, ...]  # batch index, row and column of some pixels


def _places_outside(linear: Tensor) -> _Places:
    """Return the pixels outside sRGB; most images have few."""
    return _is_outside(linear)[:, 0].nonzero(as_tuple=True)


def _fit_pixels(L: Tensor, ab: Tensor, places: _Places) -> tuple[Tensor, Tensor]:
    """Return L, (1, 1, 1, N), and the reduced ab, (1, 2, 1, N), of pixels outside sRGB."""
    batch, row, column = places
    lightness = L[batch, 0, row, column].view(1, 1, 1, -1)
    color = ab[batch, :, row, column].T.reshape(1, 2, 1, -1)
    shares = torch.arange(1, _PARTS, device=L.device).view(1, 1, -1, 1)
    share = torch.zeros_like(lightness)
    for step in range(1, _STEPS + 1):
        tried = share + shares * _PARTS**-step  # (1, 1, _PARTS - 1, N)
        outside = _is_outside(to_linear_rgb(lightness.expand_as(tried), color * tried))
        share = share + _count_before(outside) * _PARTS**-step
    return lightness, color * share


def _count_before(outside: Tensor) -> Tensor:
    """Return how many of the tried shares come before the first one outside: (1, 1, 1, N)."""
    # A reduction of the dimension, such as `amin`, takes 30 times as long on a CPU.
    first, *others = outside.logical_not().unbind(dim=2)
    inside, count = first, first.float()
    for other in others:
        inside = inside & other
        count = count + inside
    return count.unsqueeze(2)


def _replace(image: Tensor, places: _Places, pixels: Tensor) -> Tensor:
    """Write pixels, (1, C, 1, N), into an image, (B, C, H, W); return it."""
    batch, row, column = places
    image[batch, :, row, column] = pixels[0, :, 0].T
    return image


def _is_outside(linear: Tensor) -> Tensor:
    """Return a mask of the pixels outside sRGB: (B, 1, H, W), bool."""
    red, green, blue = linear.unbind(dim=1)
    low = torch.minimum(torch.minimum(red, green), blue)
    high = torch.maximum(torch.maximum(red, green), blue)
    return ((low < _LOWEST) | (high > _HIGHEST)).unsqueeze(1)
