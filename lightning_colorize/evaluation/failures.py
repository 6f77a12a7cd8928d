"""Failure modes of colorizers, as numbers per image: grey collapse, blotches, bleeding.

They show which images to look at. Do not optimize them: values are comparable only between images
of the same size, and the thresholds were chosen by eye on photographs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import full_precision

_COLORFUL = 10.0  # minimum mean chroma of a truth for grey collapse, in LAB units
_CELLS = 16  # per side of the grid on which blotches are measured
_STEP, _FLAT = 15.0, 8.0  # minimum change of L at an edge, maximum on each side of it
_REACH = 1 / 20  # share of the shorter side: distance from an edge at which colors are compared
_FEWEST = 0.002  # edges per pixel and direction


@dataclass(frozen=True)
class Failure:
    """One failure mode, which an image shows if its value is above the threshold."""

    name: str  # Also in JSON.
    threshold: float
    format: str  # Format string for values.
    help: str  # One-line definition of the value.

    @property
    def label(self) -> str:
        """The name with spaces."""
        return self.name.replace("_", " ")


FAILURES = (
    Failure(
        "grey_collapse",
        0.7,
        "{:.2f}",
        "missing share of the true mean chroma; only images with a true mean chroma of at least "
        f"{_COLORFUL:g} LAB units have a value",
    ),
    Failure(
        "blotches",
        0.75,
        "{:.2f}",
        "how much more the color changes from cell to cell than the true color and the lightness "
        f"do, on a grid of {_CELLS} x {_CELLS} cells, mean in LAB units",
    ),
    Failure(
        "bleeding",
        3.5,
        "{:.1f}",
        "how much more the color changes next to edges of the lightness than the true color does, "
        "mean in LAB units",
    ),
)
"""All failure modes."""


@torch.no_grad()
def measure_failures(L: Tensor, ab_hat: Tensor, ab: Tensor) -> Tensor:
    """Measure how strongly each image shows each failure mode, in fp32.

    Args:
        L: (B, 1, H, W) in [0, 100], the true lightness.
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.

    Returns:
        (failures, B) in the order of `FAILURES`; nan where a failure cannot be measured: a truth
        with little color, an image with few edges, a prediction that is not finite.
    """
    with full_precision(L):
        L, ab_hat, ab = L.float(), ab_hat.float(), ab.float()
        values = [grey_collapse(ab_hat, ab), blotches(L, ab_hat, ab), bleeding(L, ab_hat, ab)]
    return torch.stack(values)


def grey_collapse(ab_hat: Tensor, ab: Tensor) -> Tensor:
    """Return 1 - predicted / true mean chroma, at most 1: (B,).

    It is negative for predictions that are more colorful than the truth, and nan for truths with
    little color.
    """
    predicted, true = (_chroma(x).mean(dim=(1, 2)) for x in (ab_hat, ab))
    missing: Tensor = 1 - predicted / true
    return missing.masked_fill(true < _COLORFUL, torch.nan)


def blotches(L: Tensor, ab_hat: Tensor, ab: Tensor) -> Tensor:
    """Return the mean of max(0, |change of ab_hat| - |change of ab| - |change of L|): (B,).

    A change is the difference of the means of neighboring cells of a grid, in LAB units. Uniformly
    wrong colors, and changes that coincide with changes of the true color or the lightness, do not
    count.
    """
    cells = (min(_CELLS, L.shape[-2]), min(_CELLS, L.shape[-1]))
    L, ab_hat, ab = (F.adaptive_avg_pool2d(x, cells) for x in (L, ab_hat, ab))
    excess = [
        (_change(ab_hat, dim) - _change(ab, dim) - _change(L, dim)).clamp(min=0).flatten(1)
        for dim in (2, 3)
    ]
    return torch.cat(excess, dim=1).mean(dim=1)


def bleeding(L: Tensor, ab_hat: Tensor, ab: Tensor) -> Tensor:
    """Return how much color crosses edges of L, in LAB units: (B,).

    At an edge, L changes by 15 or more over 2 pixels in a row or a column, and by less than 8 from
    there to 1/20 of the shorter side on both sides. The spread of a color there is its change over
    the whole distance minus its change over the 2 pixels, at least 0. The value is the mean over
    edges of max(0, spread of ab_hat - spread of ab). Wrong colors that end at the edge do not
    count. The value is nan for images whose edges cover less than 0.2 % of the pixels.
    """
    reach = max(2, round(_REACH * min(L.shape[-2:])))
    total, count = L.new_zeros(len(L)), L.new_zeros(len(L))
    for dim in (2, 3):
        if L.shape[dim] <= 2 * reach:
            continue
        offsets = (-reach, -1, 1, reach)
        far_left, left, right, far_right = (_shifted(L, dim, reach, by) for by in offsets)
        edge = (left - right).abs() >= _STEP
        edge &= ((far_left - left).abs() < _FLAT) & ((far_right - right).abs() < _FLAT)
        excess = (_spread(ab_hat, dim, reach) - _spread(ab, dim, reach)).clamp(min=0)
        total += (excess * edge[:, 0]).sum(dim=(1, 2))
        count += edge[:, 0].sum(dim=(1, 2))
    few = count < _FEWEST * 2 * L[0, 0].numel()
    return (total / count).masked_fill(few, torch.nan)


def _spread(ab: Tensor, dim: int, reach: int) -> Tensor:
    """Return the change of a color over +-`reach` pixels minus its change over +-1, at least 0."""
    whole, step = (
        _chroma(_shifted(ab, dim, reach, by) - _shifted(ab, dim, reach, -by)) for by in (reach, 1)
    )
    spread: Tensor = (whole - step).clamp(min=0)
    return spread


def _chroma(ab: Tensor) -> Tensor:
    """Return the length of (a, b), 20 times faster than `norm`: (B, H, W)."""
    return torch.hypot(*ab.unbind(1))


def _shifted(x: Tensor, dim: int, border: int, by: int) -> Tensor:
    """Return x shifted by some pixels, without a border."""
    return x.narrow(dim, border + by, x.shape[dim] - 2 * border)


def _change(x: Tensor, dim: int) -> Tensor:
    change: Tensor = x.diff(dim=dim).norm(dim=1)
    return change
