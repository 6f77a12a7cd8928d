"""Baselines: colorizers without a network."""

import torch
from torch import Tensor, nn

from lightning_colorize.color import ColorBatch
from lightning_colorize.metrics.spec import BASELINES

_LEVELS = 12
_BANDS = 8
# Bins of ab are centered on multiples of half a LAB unit, so that grey is exactly one of them.
_BINS_PER_UNIT = 2
_REACH = 128
_BINS = 2 * _REACH * _BINS_PER_UNIT + 1


class Baselines(nn.Module):
    """Grey (ab = 0), the training set's mean ab, and its median ab per lightness and image row.

    Fit them in one epoch: `update` with each batch of the training set, then `finish`. The fitted
    values are buffers, so checkpoints contain them.

    Attributes:
        mean_ab: (2,) in LAB units.
        lut_ab: (2, 12, 8) in LAB units: per level of lightness, dark to light, and band of rows,
            top to bottom; accurate to a quarter of a unit.
        pixels: Number of pixels used for fitting.
    """

    mean_ab: Tensor
    lut_ab: Tensor
    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_ab", torch.zeros(2))
        self.register_buffer("lut_ab", torch.zeros(2, _LEVELS, _BANDS))
        self.register_buffer("pixels", torch.tensor(0))
        self._counts: Tensor | None = None
        self._sum = torch.zeros(2, dtype=torch.float64)

    def update(self, batch: ColorBatch) -> None:
        """Count the colors of a training batch without augmentation."""
        bins = (batch.ab.clamp(-_REACH, _REACH) * _BINS_PER_UNIT).round_().int()
        cell = _cell(batch.L)[:, None]
        channel = torch.tensor([0, _LEVELS * _BANDS], device=cell.device, dtype=torch.int32)
        index = (cell + channel.view(1, 2, 1, 1)) * _BINS + (bins + _BINS // 2)
        counts = torch.bincount(index.flatten(), minlength=2 * _LEVELS * _BANDS * _BINS)
        self._counts = counts if self._counts is None else self._counts + counts
        self._sum += batch.ab.sum(dim=(2, 3)).cpu().double().sum(dim=0)
        self.pixels += batch.L.numel()

    def finish(self) -> None:
        """Fit the baselines to the counted colors, if any, and free the counts."""
        if self._counts is None:
            raise RuntimeError("baselines need the training set: call update() with its batches")
        device = self.mean_ab.device
        self.mean_ab = (self._sum / self.pixels.cpu()).float().to(device)
        counts = self._counts.cpu().view(2, _LEVELS, _BANDS, _BINS)
        self.lut_ab = _fill(_medians(counts), counts.sum(-1)[0] > 0, self.mean_ab.cpu()).to(device)
        self._counts = None

    def predict(self, name: str, L: Tensor) -> Tensor:
        """Colorize images.

        Args:
            name: One of `BASELINES`.
            L: (B, 1, H, W) in [0, 100].

        Returns:
            ab: (B, 2, H, W) in LAB units, fp32.

        Raises:
            RuntimeError: If the baselines were not fitted.
        """
        if name not in BASELINES:
            raise ValueError(f"no baseline {name!r}; choose from {', '.join(BASELINES)}")
        if not self.pixels:
            raise RuntimeError("the baselines are not fitted")
        if name == "lut":
            return self.lut_ab.flatten(1)[:, _cell(L)].movedim(0, 1)
        ab = self.mean_ab if name == "mean" else torch.zeros_like(self.mean_ab)
        return ab.view(1, 2, 1, 1).expand(len(L), 2, *L.shape[-2:])


def _cell(L: Tensor) -> Tensor:
    """Return the index of each pixel's cell, level by level: (B, H, W), int32."""
    height = L.shape[-2]
    level = (L[:, 0] * (_LEVELS / 100)).int().clamp_(0, _LEVELS - 1)
    band = torch.arange(height, device=L.device, dtype=torch.int32) * _BANDS // height
    return level * _BANDS + band[:, None]


def _medians(counts: Tensor) -> Tensor:
    """Return the (lower) median of each histogram in LAB units: (..., bins) to (...)."""
    half = (counts.sum(-1, keepdim=True) + 1) // 2
    bins = (counts.cumsum(-1) < half).sum(-1)
    return (bins - _BINS // 2) / _BINS_PER_UNIT


def _fill(lut: Tensor, seen: Tensor, mean_ab: Tensor) -> Tensor:
    """Fill empty cells with the median of the nearest lightness in their row, or with the mean.

    `lut` is (2, levels, bands), `mean_ab` is (2,), and `seen`, (levels, bands), says whether a cell
    has pixels.
    """
    levels = torch.arange(_LEVELS)
    distance = (levels[:, None] - levels).abs()[..., None].expand(-1, -1, _BANDS)
    # (to, from, band): the distance to each level that has pixels.
    nearest = distance.masked_fill(~seen, _LEVELS).argmin(dim=1)
    filled = lut.gather(1, nearest.expand(2, -1, -1))
    return torch.where(seen.any(dim=0), filled, mean_ab[:, None, None])
