"""Quantization of ab into bins, and class rebalancing (Zhang et al. 2016)."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_colorize.color.lab import to_lab
from lightning_colorize.color.precision import full_precision

GRID = 10.0
"""Distance between neighboring bins, in LAB units."""

_NEIGHBORS = 5
_SIGMA = 5.0  # of the soft code and of the smoothed prior, in LAB units
_REACH = 110  # the soft-code table covers ab from -_REACH to _REACH
_UNIFORM = 0.5  # share of the uniform distribution in the prior for the weights


class AbBins(nn.Module):
    """The 313 bins of Zhang et al. 2016, with the training set's prior and the rebalancing weights.

    Call `update` once with each training batch, then `finish`. Without this, all bins have the same
    weight. All state is in buffers, so checkpoints contain it.

    Attributes:
        centers: (313, 2) in LAB units.
        prior: (313,), the share of the training pixels in each bin; it sums to 1.
        weights: (313,): 1 / (smoothed prior / 2 + uniform / 2), with a mean of 1 under the
            smoothed prior.
        pixels: Number of pixels counted.
    """

    centers: Tensor
    prior: Tensor
    weights: Tensor
    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        with torch.device("cpu"):  # even of a network that is built without memory
            centers = bin_centers().clone()
        self.register_buffer("centers", centers)
        self.register_buffer("prior", torch.full((len(centers),), 1 / len(centers)))
        self.register_buffer("weights", torch.ones(len(centers)))
        self.register_buffer("pixels", torch.tensor(0))

    def __len__(self) -> int:
        return len(self.centers)

    def update(self, ab: Tensor) -> None:
        """Count true colors: (B, 2, H, W), in LAB units."""
        counts = torch.bincount(nearest_bins(ab).flatten(), minlength=len(self))
        total = self.prior * self.pixels + counts
        self.pixels += counts.sum()
        self.prior = total / self.pixels

    def finish(self) -> None:
        """Compute the weights from the prior."""
        squared = torch.cdist(self.centers, self.centers).square()
        kernel = torch.exp(squared / (-2 * _SIGMA**2))
        smooth = (kernel / kernel.sum(0)) @ self.prior
        weights = 1 / ((1 - _UNIFORM) * smooth + _UNIFORM / len(self))
        self.weights = weights / (smooth * weights).sum()

    def encode(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """Return soft codes: the 5 nearest bins and their Gaussian weights, which sum to 1.

        Colors are rounded to whole LAB units: a table lookup is 100 times faster than a search.
        `ab` is (B, 2, H, W) in LAB units. Indices, the nearest first, are int64, weights fp32: both
        (B, 5, H, W).
        """
        nearest, weights = _soft_codes(ab.device)
        row = _table_row(ab)
        return nearest[row].movedim(-1, 1), weights[row].movedim(-1, 1)

    def soft_codes(self, ab: Tensor) -> Tensor:
        """Return weighted soft codes over all bins as log p, (B, 313, H, W), fp32.

        Unlike `encode`, it has gradients and can be exported. `ab` is (B, 2, H, W) in LAB units.
        """
        with full_precision(ab):
            # -distance**2 / (2 sigma**2), up to a constant, as a convolution.
            weight = self.centers[..., None, None] / _SIGMA**2
            bias = self.weights.log() - self.centers.square().sum(1) / (2 * _SIGMA**2)
            return F.conv2d(ab.float(), weight, bias).log_softmax(1)

    def decode(self, logits: Tensor, temperature: Tensor, exponent: Tensor) -> Tensor:
        """Return the annealed mean of a distribution, after undoing the rebalancing.

        The distribution is p / weights**exponent, normalized, and then p**(1 / temperature),
        normalized.

        Args:
            logits: (B, 313, H, W), log p up to a constant.
            temperature: 1 for the mean; towards 0 for the mode.
            exponent: 1 removes the weights completely, 0 keeps them.

        Returns:
            ab: (B, 2, H, W) in LAB units, fp32.
        """
        with full_precision(logits):
            fair = logits.float() - exponent * self.weights.log().view(1, -1, 1, 1)
            shares = torch.softmax(fair / temperature, dim=1)
            return F.conv2d(shares, self.centers.T[..., None, None])

    def shares(self, logits: Tensor) -> Tensor:
        """Undo the rebalancing of log p, (B, 313, H, W): shares, fp32, that sum to 1 per pixel."""
        return torch.softmax(logits.float() - self.weights.log().view(1, -1, 1, 1), dim=1)

    def moments(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of `shares(logits)`: (B, 2, H, W) each, LAB units."""
        with full_precision(logits):
            centers = torch.cat([self.centers, self.centers.square()], dim=1).T[..., None, None]
            mean, squared = F.conv2d(self.shares(logits), centers).chunk(2, dim=1)
            return mean, (squared - mean.square()).clamp(min=0).sqrt()


def nearest_bins(ab: Tensor) -> Tensor:
    """Return each pixel's nearest bin, (B, H, W), int64, after rounding ab to whole LAB units.

    `ab` is (B, 2, H, W) in LAB units, finite.
    """
    nearest, _ = _soft_codes(ab.device)
    return nearest[:, 0][_table_row(ab)]


def _table_row(ab: Tensor) -> Tensor:
    """Return the row of each pixel in the table of soft codes: (B, H, W), int64."""
    whole = (ab.float().round() + _REACH).clamp_(0, 2 * _REACH).long()
    return whole[:, 0] * (2 * _REACH + 1) + whole[:, 1]


@cache
def _soft_codes(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the nearest bins and their weights for all integer ab: (221 * 221, 5) each."""
    axis = torch.arange(-_REACH, _REACH + 1.0)
    distances = torch.cdist(torch.cartesian_prod(axis, axis), bin_centers())
    near, nearest = distances.topk(_NEIGHBORS, largest=False)
    weights = torch.softmax(near.square() / (-2 * _SIGMA**2), dim=-1)
    return nearest.to(device), weights.to(device)


@cache
def bin_centers() -> Tensor:
    """Return the grid points in the convex hull of sRGB's ab, and their 8 neighbors.

    These are the 313 of the authors' file `pts_in_hull.npy`, in the same order: (313, 2), in LAB
    units, a ascending, then b.
    """
    # The hull of the edges of the RGB cube, as its support in all directions.
    share = torch.linspace(0, 1, 256)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    first, second = torch.combinations(torch.arange(8)).unbind(1)
    start, end = corners[first][..., None], corners[second][..., None]
    _, ab = to_lab((start + (end - start) * share).unsqueeze(0).movedim(1, 2))
    angle = torch.arange(0, 360, 0.25).deg2rad()
    directions = torch.stack([angle.cos(), angle.sin()])
    support = (ab[0].flatten(1).T @ directions).amax(0)
    axis = torch.arange(-13, 14) * GRID
    points = torch.cartesian_prod(axis, axis)
    inside = ((points @ directions) <= support).all(1).view(1, 1, len(axis), len(axis))
    near = F.max_pool2d(inside.float(), 3, stride=1, padding=1).flatten() > 0
    return points[near]
