"""Errors by ranges of hue and chroma of the true color, and color diversity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from lightning_colorize.color import full_precision
from lightning_colorize.color.bins import bin_centers, nearest_bins
from lightning_colorize.evaluation.statistics import as_interval, ratio_intervals
from lightning_colorize.evaluation.table import Column, Table, format_number, make_row
from lightning_colorize.metrics.image_pair import ImagePair

By = Literal["hue", "chroma"]

HUES = {
    "red": 15.0,
    "orange": 50.0,
    "yellow": 80.0,
    "green": 110.0,
    "cyan": 170.0,
    "blue": 220.0,
    "purple": 310.0,
    "pink": 340.0,
}
"""The start of each hue sector, in degrees of CIELAB; it ends where the next one starts."""

CHROMAS = (0.0, 10.0, 25.0, 50.0)
"""The start of each chroma range, in LAB units; a color in the first one has no hue."""

_GREY = "grey"
_SHAPE = (len(CHROMAS), 1 + len(HUES))


@dataclass(frozen=True)
class ColorRange:
    """The pixels whose true color is in a range of hue or chroma."""

    name: str
    range: str  # Its bounds, or their unit if the name contains the bounds.
    share: float  # Share of all pixels.
    images: int  # Number of images with such pixels.
    chroma: float  # Mean true chroma.
    # By row, `ciede2000` and `chroma_difference` (predicted minus true chroma): mean over the
    # pixels of all images as `value`, with the bounds `low` and `high` of its interval. All are
    # nan without pixels; the bounds are nan for a single image.
    rows: dict[str, dict[str, dict[str, float]]]


@torch.no_grad()
def measure_ranges(images: ImagePair) -> Tensor:
    """Return sums over the pixels of each range of true chroma and hue, in fp32.

    Returns:
        (4, chromas, 1 + hues, B): number of pixels, true chroma, predicted chroma, CIEDE2000. The
        first hue stands for pixels without hue.
    """
    with full_precision(images.L):
        a, b = images.lab[1].unbind(1)
        chroma, chroma_hat = torch.hypot(a, b), torch.hypot(*images.lab_hat[1].unbind(1))
        hue = torch.rad2deg(torch.atan2(b, a)) % 360
        # Hues before the first sector belong to the last one.
        starts = hue.new_tensor([*HUES.values()])
        sector = (torch.bucketize(hue, starts, right=True) - 1) % len(HUES)
        level = torch.bucketize(chroma, chroma.new_tensor(CHROMAS[1:]), right=True)
        cell = level * _SHAPE[1] + (1 + sector) * (level > 0)
        values = (torch.ones_like(chroma), chroma, chroma_hat, images.ciede2000[:, 0])
        return torch.stack([_sums(cell, each) for each in values])


def count_colors(ab: Tensor) -> Tensor:
    """Return the number of pixels in each of the 313 bins of ab: (313, B), fp32.

    `ab` is (B, 2, H, W) in LAB units. nan for images with colors that are not finite.
    """
    bins = nearest_bins(ab.nan_to_num()).flatten(1)
    counts = ab.new_zeros(len(ab), len(bin_centers()), dtype=torch.float32)
    counts.scatter_add_(1, bins, torch.ones_like(bins, dtype=torch.float32))
    broken = ~ab.flatten(1).isfinite().all(dim=1, keepdim=True)
    return counts.masked_fill(broken, torch.nan).T


def diversity(counts: np.ndarray) -> float:
    """Return the effective number of predicted colors, as a share of the truth's.

    This is the exponential of the entropy of the bin counts of all images: n equally frequent
    colors count as n. `counts` is (2, 313, images), predicted and true.
    """
    predicted, true = stats.entropy(counts.sum(axis=-1), axis=-1)
    return float(np.exp(predicted - true))


def ranges_table(ranges: Sequence[ColorRange], by: str) -> Table:
    """Return a table with a row for each range, at least one, of the true color."""
    first, *others = ranges[0].rows
    names = ("pixels", "chroma", "difference", "ciede2000", "95 % interval")
    heads = [*names, *(f"of {name}" for name in others)]
    rows = []
    for each in ranges:
        error, change = (each.rows[first][name] for name in ("ciede2000", "chroma_difference"))
        shown = [each.chroma, *(each.rows[name]["ciede2000"]["value"] for name in others)]
        chroma, *baselines = (format_number("{:.2f}", value) for value in shown)
        value, low, high = (format_number("{:.2f}", error[key]) for key in ("value", "low", "high"))
        difference = format_number("{:+.1f}", change["value"])
        cells = [f"{each.share:.1%}", chroma, difference, value, f"{low} to {high}", *baselines]
        rows.append(make_row(each.name, each.range, *cells))
    columns = [Column(by, text=True), Column("range", text=True), *map(Column, heads)]
    return Table(f"Errors by {by}", columns, rows)


def errors_by(by: By, sums: np.ndarray, rows: Sequence[str]) -> list[ColorRange]:
    """Return the figures of each range of hue, with a first part of pixels without hue, or chroma.

    `sums` is (rows, 4, chromas, 1 + hues, images), from `measure_ranges`; `rows` are their names.
    """
    pixels, chroma, chroma_hat, errors = sums.sum(axis=2 if by == "hue" else 3).swapaxes(0, 1)
    intervals = ratio_intervals(np.stack([errors, chroma_hat - chroma]), pixels)
    intervals[1:, :, (pixels > 0).sum(-1) < 2] = np.nan
    names = ("ciede2000", "chroma_difference")
    total = pixels[0].sum()
    ranges = []
    for index, (name, limits) in enumerate(_ranges(by)):
        count = pixels[0, index]
        mean = chroma[0, index].sum() / count.sum() if count.any() else np.nan
        figures = {
            row: {
                figure: as_interval(ends)
                for figure, ends in zip(names, intervals[:, :, number, index].T, strict=True)
            }
            for number, row in enumerate(rows)
        }
        share, images = float(count.sum() / total), int((count > 0).sum())
        ranges.append(ColorRange(name, limits, share, images, float(mean), figures))
    return ranges


def _ranges(by: By) -> list[tuple[str, str]]:
    if by == "chroma":
        ends = [*map("{:g}".format, CHROMAS[1:]), ""]
        return [(f"{low:g}-{end}", "LAB units") for low, end in zip(CHROMAS, ends, strict=True)]
    starts = [*HUES.values()]
    sectors = zip(HUES, starts, [*starts[1:], starts[0]], strict=True)
    named = [(name, f"{low:g}-{high:g}°") for name, low, high in sectors]
    return [(_GREY, f"chroma 0-{CHROMAS[1]:g}"), *named]


def _sums(cell: Tensor, values: Tensor) -> Tensor:
    """Return the sum of each cell's pixels: (B, H, W) to (chromas, 1 + hues, B)."""
    height = cell.shape[1]
    cells, values = cell.flatten(0, 1), values.flatten(0, 1)
    # Sum each line of pixels first: one long sum would lose digits.
    lines = values.new_zeros(len(cells), _SHAPE[0] * _SHAPE[1]).scatter_add_(1, cells, values)
    return lines.view(-1, height, *_SHAPE).sum(dim=1).movedim(0, -1)
