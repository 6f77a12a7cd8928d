"""Prediction on images of any size."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import WHITE, to_eight_bits, to_lab, to_lightness, to_rgb_in_gamut
from lightning_colorize.data.dataset import LONGEST, resize_short_side
from lightning_colorize.networks.colorizer import pad_input, round_up
from lightning_colorize.tasks.base import ColorizationTask
from lightning_colorize.tasks.outside import OutsideNetwork

# Full-resolution conversion works in strips: 12 megapixels at once take 1.9 GB, and three times as
# long, because nothing fits the processor's cache.
_STRIP_PIXELS = 2**18

# Of the guided filter: pixels at the network's size, and the variance of L below which an area
# counts as flat.
_RADIUS = 4
_SMOOTHNESS = 5.0

_TONED = 5.0  # LAB units


@torch.inference_mode()
def colorize_image(task: ColorizationTask, rgb: Tensor, size: int) -> Tensor:
    """Color one image; its lightness is unchanged, at full resolution.

    Args:
        task: In evaluation mode, on the device to use.
        rgb: (3, H, W), uint8 or uint16; its color is discarded by the same conversion as in
            training.
        size: Short side of the network's input, in pixels.

    Returns:
        The same shape and dtype, on the CPU.

    Raises:
        FloatingPointError: If the predicted colors are not finite.
    """
    (ab,) = predict_colors(task, [network_input(rgb, size)])
    return add_colors(rgb, ab)


def network_input(rgb: Tensor, size: int) -> Tensor:
    """Return an image as the network sees it: (3, h, w), uint8, on the CPU.

    Args:
        rgb: (3, H, W), uint8 or uint16.
        size: Pixels of the short side, see `seen_side`.
    """
    height, width = rgb.shape[-2:]
    return resize_short_side(to_eight_bits(rgb), seen_side(height, width, size))


def padded_size(task: ColorizationTask, seen: Tensor) -> tuple[int, int]:
    """Return the height and width to which the network pads an input.

    Inputs with the same ones can share a batch.
    """
    multiple = task.net.multiple
    height, width = (round_up(side, multiple) for side in seen.shape[-2:])
    return height, width


@torch.inference_mode()
def predict_colors(task: ColorizationTask, seen: Sequence[Tensor]) -> list[Tensor]:
    """Predict the colors of images that share a `padded_size`.

    Args:
        task: In evaluation mode, on the device to use.
        seen: Images as `network_input` returns them.

    Returns:
        ab of each: (1, 2, h, w) in LAB units, fp32, on the task's device.

    Raises:
        FloatingPointError: If a predicted color is not finite.
    """
    return decode_views(task, predict_views(task, seen), seen)


@torch.inference_mode()
def predict_views(task: ColorizationTask, seen: Sequence[Tensor]) -> list[Tensor]:
    """Return what the network predicts for images that share a `padded_size`, not yet decoded."""
    padded = padded_size(task, seen[0])
    lightness = (to_lightness(image.unsqueeze(0).to(task.device)) for image in seen)
    # Here and not in the network, which pads the mirror image at its own right edge.
    inputs = torch.cat([pad_input(L, *padded) for L in lightness])
    # A CPU has other kernels for a batch of one, with other last bits: what an image looks like
    # would depend on the images beside it, and on where a killed run continues.
    doubled = len(inputs) == 1 and not task.flip and inputs.device.type == "cpu"
    doubled &= not isinstance(task.net, OutsideNetwork)  # takes images one by one
    views = task.predict_views(inputs.repeat(2, 1, 1, 1) if doubled else inputs)
    return [view[: len(inputs)] for view in views]


@torch.inference_mode()
def decode_views(
    task: ColorizationTask, views: Sequence[Tensor], seen: Sequence[Tensor]
) -> list[Tensor]:
    """Return the colors, as `predict_colors`, of what `predict_views` returned for images."""
    batch = task.combine(views, padded_size(task, seen[0]))
    if not batch.isfinite().all():
        raise FloatingPointError("the network predicts colors that are not finite")
    sizes = [image.shape[-2:] for image in seen]
    return [ab[None, :, :height, :width] for ab, (height, width) in zip(batch, sizes, strict=True)]


@torch.inference_mode()
def is_colored(rgb: Tensor) -> bool:
    """Return whether an image has several hues: neither grey nor of one tone, such as sepia.

    A tone is a color for each lightness: what a cubic polynomial of L explains of ab. The image is
    in color if the rest exceeds 5 LAB units in a twentieth of the pixels.

    Args:
        rgb: (3, h, w), uint8: a small image.
    """
    L, ab = to_lab(rgb.unsqueeze(0))
    powers = torch.stack([(L.flatten() / 100) ** n for n in range(4)], dim=1).double()
    colors = ab[0].flatten(1).T.double()
    # With a small ridge, as all pixels may have the same lightness.
    normal = powers.T @ powers + 1e-6 * len(powers) * torch.eye(4, dtype=torch.float64)
    rest = colors - powers @ torch.linalg.solve(normal, powers.T @ colors)
    return float(rest.norm(dim=1).quantile(0.95)) > _TONED


@torch.inference_mode()
def add_colors(rgb: Tensor, ab: Tensor, guide: Tensor | None = None) -> Tensor:
    """Return an image with its own lightness, at full resolution, and other colors.

    Args:
        rgb: (3, H, W), uint8 or uint16.
        ab: (1, 2, h, w) in LAB units, on the device to use. What is outside sRGB is reduced at
            constant lightness and hue.
        guide: (3, h, w), uint8: the image as the network has seen it. With it, colors follow the
            edges of the lightness (He and Sun 2015, "Fast Guided Filter"); otherwise they are
            interpolated.

    Returns:
        The same shape and dtype as `rgb`, on the CPU.
    """
    height, width = rgb.shape[-2:]
    colored = torch.empty_like(rgb, device="cpu", memory_format=torch.contiguous_format)
    if guide is not None:
        ab = torch.cat(_lines_of_color(to_lightness(guide.unsqueeze(0).to(ab.device)), ab), dim=1)
    for rows, ab_rows in upsampled_strips(ab, height, width, max(1, _STRIP_PIXELS // width)):
        L = to_lightness(rgb[:, rows].unsqueeze(0).to(ab.device))
        if guide is not None:
            slope, offset = ab_rows.chunk(2, dim=1)
            ab_rows = slope * L + offset
        unit = to_rgb_in_gamut(L, ab_rows)[0]
        colored[:, rows] = (unit * WHITE[rgb.dtype]).round().to(rgb.dtype).cpu()
    return colored


def _lines_of_color(L: Tensor, ab: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and offset of ab as a linear function of L around each pixel, (1, 2, h, w)."""

    def mean(values: Tensor) -> Tensor:
        padded = F.pad(values, [_RADIUS] * 4, mode="replicate")
        return F.avg_pool2d(padded, 2 * _RADIUS + 1, stride=1)

    variance = mean(L * L) - mean(L) ** 2
    covariance = mean(L * ab) - mean(L) * mean(ab)
    slope = covariance / (variance + _SMOOTHNESS)
    return mean(slope), mean(mean(ab) - slope * mean(L))


def seen_side(height: int, width: int, size: int) -> int:
    """Return the short side of the network's input in pixels.

    It is `size`, or less for images with an aspect ratio above 4.
    """
    # These take the symbolic sizes of a graph, too.
    short, long = torch.sym_min(height, width), torch.sym_max(height, width)
    side = torch.sym_max(1, torch.sym_min(size, LONGEST * size * short // long))
    return cast(int, side)


def upsampled_strips(
    ab: Tensor, height: int, width: int, rows: int
) -> Iterator[tuple[slice, Tensor]]:
    """Resize ab, (1, C, h, w), bilinearly (align_corners=False) in strips of some rows.

    Together they equal `F.interpolate` of the whole, up to rounding.

    Yields:
        The rows of a strip, and their values: (1, C, up to `rows`, width).
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
