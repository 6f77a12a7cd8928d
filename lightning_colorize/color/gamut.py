"""Gamut mapping to sRGB at constant lightness and hue.

Only 16.9 % of L x [-110, 110]^2 is inside sRGB, and clipping in RGB moves L* by 6 on average.
"""

import torch
from torch import Tensor

from lightning_colorize.color.lab import linear_to_srgb, to_linear_rgb

# Linear RGB at 1e-4 outside sRGB.
_LOWEST = -1e-4 / 12.92
_HIGHEST = ((1 + 1e-4 + 0.055) / 1.055) ** 2.4
# Each step subdivides the chroma interval; within the last one, 1/64 wide, the sRGB boundary is
# nearly straight. Bisection needs fewer values but more operations, and is slower for few pixels.
_PARTS, _STEPS = 4, 3


def fit_gamut(L: Tensor, ab: Tensor) -> Tensor:
    """Reduce the chroma of colors outside sRGB, at constant L* and hue, until they fit.

    L is (B, 1, H, W) in [0, 100], ab (B, 2, H, W) in LAB units. Returns ab in fp32; colors inside
    sRGB are unchanged.
    """
    L, ab = L.float(), ab.float()
    linear = to_linear_rgb(L, ab)
    whole = torch.compiler.is_compiling()  # the sizes in a graph cannot depend on values
    places = torch.arange(L.numel(), device=L.device) if whole else _places_outside(linear)
    if not len(places):
        return ab
    _, colors = _fit_pixels(L, ab, places)
    fitted = _replace(ab.clone(), places, colors)
    return torch.where(_excess(linear) > 0, fitted, ab) if whole else fitted


def to_rgb_in_gamut(L: Tensor, ab: Tensor) -> Tensor:
    """Return `to_rgb(L, fit_gamut(L, ab))` in half the time: (B, 3, H, W), fp32, in 0..1."""
    L, ab = L.float(), ab.float()
    linear = to_linear_rgb(L, ab)
    places = _places_outside(linear)
    # A graph cannot branch on values.
    if torch.compiler.is_exporting() or len(places):
        linear = _replace(linear, places, to_linear_rgb(*_fit_pixels(L, ab, places)))
    return linear_to_srgb(linear).clamp(0.0, 1.0)


def _places_outside(linear: Tensor) -> Tensor:
    """Return the column indices in `_planes` of pixels outside sRGB, (N,); most images have few."""
    return (_excess(linear).flatten() > 0).nonzero()[:, 0]


def _planes(image: Tensor) -> Tensor:
    """Return an image, (B, C, H, W), as (C, B * H * W)."""
    return image.transpose(0, 1).flatten(1)


def _fit_pixels(L: Tensor, ab: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return L, (1, 1, 1, N), and the reduced ab, (1, 2, 1, N), of pixels outside sRGB."""
    lightness = _planes(L).index_select(1, places)[None, :, None]
    color = _planes(ab).index_select(1, places)[None, :, None]
    shares = torch.arange(1, _PARTS, device=L.device).view(1, 1, -1, 1)
    share = torch.zeros_like(lightness)

    def excess(tried: Tensor) -> Tensor:  # (1, 1, K, N), of as many shares of the chroma
        return _excess(to_linear_rgb(lightness.expand_as(tried), color * tried))

    for step in range(1, _STEPS + 1):
        width = _PARTS**-step
        share = share + width * _count_before(excess(share + width * shares) > 0)
    # Interpolate linearly between an excess below 0 and one above.
    below, above = excess(torch.cat([share, share + width], dim=2)).tensor_split(2, dim=2)
    return lightness, color * (share - width * below / (above - below).clamp(min=1e-9))


def _count_before(outside: Tensor) -> Tensor:
    """Return how many of the tried shares come before the first one outside: (1, 1, 1, N)."""
    # Reducing the dimension, e.g. with `amin`, takes 30 times as long on a CPU.
    first, *others = outside.logical_not().unbind(dim=2)
    inside, count = first, first.float()
    for other in others:
        inside = inside & other
        count = count + inside
    return count.unsqueeze(2)


def _replace(image: Tensor, places: Tensor, pixels: Tensor) -> Tensor:
    """Replace pixels of an image, (B, C, H, W), with (1, C, 1, N); the image may be overwritten."""
    planes = _planes(image).index_copy_(1, places, pixels[0, :, 0])
    batch, _, *size = image.shape
    return planes.reshape(-1, batch, *size).transpose(0, 1)


def _excess(linear: Tensor) -> Tensor:
    """Return how far pixels, (B, 3, H, W), are outside sRGB: (B, 1, H, W), 0 at the boundary."""
    red, green, blue = linear.unbind(dim=1)
    low = torch.minimum(torch.minimum(red, green), blue)
    high = torch.maximum(torch.maximum(red, green), blue)
    return torch.maximum(_LOWEST - low, high - _HIGHEST).unsqueeze(1)
