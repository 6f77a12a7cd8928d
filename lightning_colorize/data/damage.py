"""Damage of grey images, as old photographs and their scans have."""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import full_precision
from lightning_colorize.data.device.transfer import to_device

_WIDEST = 0.015  # sigma of a blur, as a share of the size
_SCRATCHES = 8  # at most, on an aged print

# The luminance table at a quality of 50 (JPEG standard, annex K).
_QUANTIZATION = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)


# Not kornia's augmentations: RandomJPEG takes three channels only (4 times slower on a CPU) and
# rounds differentiably (up to twice as far from libjpeg), RandomGaussianNoise has one deviation for
# all images, and RandomGaussianBlur needs its sigma before the size is known. The blur is kornia's.
def damaged(
    L: Tensor, blur: float = 0.0, grain: float = 0.0, jpeg: float = 0.0, aging: float = 0.0
) -> Tensor:
    """Apply blur, grain, aging and JPEG at random, in this order: lens, film, print, file.

    Numbers are drawn from torch's CPU generator, so a seed gives the same images on every device.

    Args:
        L: (B, 1, H, W) in [0, 100], fp32, as is the result.
        blur: Probability of a Gaussian blur with a sigma of 0.5% to 1.5% of the size.
        grain: Probability of noise with a standard deviation of 2 to 8.
        jpeg: Probability of a compression with a quality of 20 to 90.
        aging: Probability of an aged print, as `aged` makes it.
    """
    size = min(L.shape[-2:])
    L = _changed(L, blur, (0.005 * size, _WIDEST * size), blurred)
    L = _changed(L, grain, (2.0, 8.0), grainy)
    L = _changed(L, aging, (0.3, 1.0), aged)
    return _changed(L, jpeg, (20.0, 90.0), jpeg_compressed)


def _changed(
    L: Tensor,
    share: float,
    limits: tuple[float, float],
    change: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Return L with a random share of the images changed, each by a uniform random number."""
    if not share:
        return L
    drawn = torch.rand(len(L)) < share
    numbers = torch.empty(len(L)).uniform_(*limits)[drawn]
    some = to_device(drawn.nonzero()[:, 0], L.device)
    if not len(some):
        return L
    return L.index_copy(0, some, change(L[some], numbers[:, None, None, None]))


def blurred(L: Tensor, sigma: Tensor) -> Tensor:
    """Blur L, (N, 1, H, W), with a sigma, (N, 1, 1, 1), on the CPU; the border is reflected."""
    from kornia.filters import gaussian_blur2d  # slow import

    # Reflection needs less than the size.
    size = min(L.shape[-2:])
    reach = min(math.ceil(2 * _WIDEST * size), size - 1)
    with full_precision(L):
        widths = sigma.reshape(-1, 1).clamp(min=1e-3).expand(-1, 2)
        return gaussian_blur2d(L, 2 * reach + 1, widths)


def grainy(L: Tensor, deviation: Tensor) -> Tensor:
    """Return images with normal noise, in [0, 100]; the deviation is (N, 1, 1, 1), on the CPU."""
    noise = deviation * torch.randn(L.shape)
    return (L + to_device(noise, L.device)).clamp(0.0, 100.0)


def aged(L: Tensor, amount: Tensor) -> Tensor:
    """Return images as aged prints: halation, scratches, and the contrast of faded paper.

    L is (N, 1, H, W) in [0, 100]; `amount`, (N, 1, 1, 1), on the CPU, is the strength, 0 to 1.
    Light above 75 spreads by 1.5% of the size. Up to eight thin, nearly vertical scratches are dark
    or bright. Black rises by up to 30, white falls by up to 20.
    """
    size = min(L.shape[-2:])
    strength = to_device(amount, L.device)
    numbers = to_device(torch.rand(_SCRATCHES + 1, 6, len(L), 1, 1, 1), L.device)
    glow = blurred((L - 75.0).clamp(min=0.0), torch.full_like(amount, _WIDEST * size))
    L = L + 2.0 * strength * glow
    y = torch.linspace(0.0, 1.0, L.shape[-2], device=L.device)[:, None]
    x = torch.linspace(0.0, 1.0, L.shape[-1], device=L.device)
    for place, slope, middle, length, tone, there in numbers[1:]:
        distance = (x - place - 0.1 * (slope - 0.5) * (y - 0.5)).abs() * L.shape[-1]
        line = (1.0 - distance).clamp(min=0.0) * ((y - middle).abs() < length / 2)
        L = L + line * (there < strength) * torch.where(tone < 0.5, -60.0, 60.0)
    black, white = 30.0 * strength * numbers[0, 0], 100.0 - 20.0 * strength * numbers[0, 1]
    return black + (white - black) * L.clamp(0.0, 100.0) / 100.0


def jpeg_compressed(L: Tensor, quality: Tensor) -> Tensor:
    """Return images with JPEG's loss: the coefficients of 8x8 blocks are rounded.

    L is (N, 1, H, W) in [0, 100], taken as grey values of 0 to 255; `quality` is libjpeg's,
    (N, 1, 1, 1), on the CPU, 1 to 100.
    """
    height, width = L.shape[-2:]
    quality = to_device(quality, L.device)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    basis, quantization = _dct(L.device)
    steps = (scale * quantization).clamp(min=1.0)
    with full_precision(L):
        grey = F.pad(L * 2.55 - 128, (0, -width % 8, 0, -height % 8), mode="replicate")
        coefficients = F.conv2d(grey, basis, stride=8)
        rounded = (coefficients / steps).round() * steps
        grey = F.conv_transpose2d(rounded, basis, stride=8)[..., :height, :width]
    return ((grey + 128) / 2.55).clamp(0.0, 100.0)


@cache
def _dct(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the orthonormal basis of 8x8 blocks, (64, 1, 8, 8), and quantization, (1, 64, 1, 1).

    Both are in rows of one vertical frequency.
    """
    index = torch.arange(8.0)
    waves = torch.cos((2 * index + 1) * index[:, None] * math.pi / 16) / 2
    waves[0] /= math.sqrt(2)
    basis = torch.einsum("ui,vj->uvij", waves, waves).reshape(64, 1, 8, 8)
    quantization = torch.tensor(_QUANTIZATION, dtype=torch.float32).view(1, 64, 1, 1)
    return basis.to(device), quantization.to(device)
