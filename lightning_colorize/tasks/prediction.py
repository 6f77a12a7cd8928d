"""Prediction on images of any size."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import fit_gamut, to_lab, to_rgb
from lightning_colorize.data.dataset import LONGEST, resize_short_side
from lightning_colorize.tasks.base import ColorizationTask

# Full-resolution conversion works in strips: 12 megapixels at once take 1.9 GB, and three times as
# long, because nothing fits the processor's cache.
_STRIP_PIXELS = 2**17


@torch.inference_mode()
def colorize_image(task: ColorizationTask, rgb: Tensor, size: int) -> Tensor:
    """Color one image; its lightness is unchanged, at full resolution.

    Args:
        task: In evaluation mode, on the device to use.
        rgb: (3, H, W), uint8; its color is discarded by the same conversion as in training.
        size: Short side of the network's input, in pixels.

    Returns:
        (3, H, W), uint8, on the CPU.

    Raises:
        FloatingPointError: If the predicted colors are not finite.
    """
    height, width = rgb.shape[-2:]
    seen = resize_short_side(rgb, seen_side(height, width, size))
    L, _ = to_lab(seen.unsqueeze(0).to(task.device))
    ab = task(L)
    if not ab.isfinite().all():
        raise FloatingPointError("the network predicts colors that are not finite")
    colored = torch.empty((3, height, width), dtype=torch.uint8)
    for rows, ab_rows in upsampled_strips(ab, height, width, max(1, _STRIP_PIXELS // width)):
        L_rows, _ = to_lab(rgb[:, rows].unsqueeze(0).to(task.device))
        unit = to_rgb(L_rows, fit_gamut(L_rows, ab_rows))[0]
        colored[:, rows] = (unit * 255).round().to(torch.uint8).cpu()
    return colored


def seen_side(height: int, width: int, size: int) -> int:
    """Return the short side of the network's input in pixels.

    It is `size`, or less for images with an aspect ratio above 4.
    """
    short, long = sorted((height, width))
    return max(1, min(size, LONGEST * size * short // long))


def upsampled_strips(
    ab: Tensor, height: int, width: int, rows: int
) -> Iterator[tuple[slice, Tensor]]:
    """Resize ab, (1, 2, h, w), bilinearly (align_corners=False) in strips of some rows.

    Together they equal `F.interpolate` of the whole, up to rounding.

    Yields:
        The rows of a strip, and their ab: (1, 2, up to `rows`, width).
    """
    wide = F.interpolate(ab, (ab.shape[2], width), mode="bilinear", align_corners=False)
    last = ab.shape[2] - 1
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        row = torch.arange(strip.start, strip.stop, device=ab.device, dtype=torch.float64)
        # Pixel centers are at halves; the edge is replicated beyond the outermost ones.
        source = ((row + 0.5) * (ab.shape[2] / height) - 0.5).clamp(0, last)
        above = source.long()
        below = (above + 1).clamp(max=last)
        share = (source - above).to(ab.dtype)[:, None]
        yield strip, torch.lerp(wide[:, :, above], wide[:, :, below], share)
