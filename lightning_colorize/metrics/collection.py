"""The metrics that are logged: one torchmetrics collection under the names of the contract.

All of them are read from the same rows, one per image, which are measured once per update: they
form one compute group, so that only the first updates and the others refer to its rows. Rows are
kept and not sums because a correlation over images needs them; 50,000 images take 2 MB.
"""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from lightning_colorize.metrics.functional import ImageValues, measure

CONSTANT = 1e-3
"""Below this (in LAB units) the spread of mean colours over images is rounding."""
COLORLESS = 0.1
"""Colourfulness on the scale of 0..255 that a truth without any colour is taken to have."""


def colorization_metrics(prefix: str = "") -> MetricCollection:
    """Return the collection, to be updated with (L, ab_hat, ab).

    `update(L, ab_hat, ab)` takes L: (B, 1, H, W) in [0, 100], the lightness of the true colours,
    and ab: (B, 2, H, W) in LAB units, predicted and true, of any floating dtype and under any
    autocast. `compute()` gives scalars. Use `update`, not `forward`, which would measure once for
    each metric.

    Args:
        prefix: Put before the names: "val/" gives "val/psnr".
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "mse_ab": ImageMean("mse_ab"),
        "psnr": ImageMean("psnr"),
        "ssim": ImageMean("ssim"),
        "ciede2000": ImageMean("ciede2000"),
        "colorfulness": ImageMean("colorfulness"),
        "colorfulness_ratio": ColorfulnessRatio(),
        "ab_corr": HueCorrelation(),
    }
    return MetricCollection(metrics, prefix=prefix, compute_groups=[list(metrics)])


class ImageMetric(Metric):
    """A metric that is computed from the values of all images."""

    full_state_update = False
    is_differentiable = False
    rows: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, L: Tensor, ab_hat: Tensor, ab: Tensor) -> None:
        """Measure the images of a batch.

        Args:
            L: (B, 1, H, W) in [0, 100], the lightness of the true colours.
            ab_hat: (B, 2, H, W) in LAB units, predicted.
            ab: (B, 2, H, W) in LAB units, true.
        """
        self.rows.append(torch.stack(measure(L, ab_hat, ab), dim=1))

    def values(self) -> ImageValues:
        """Return the values of all images so far, each (N,)."""
        return ImageValues(*dim_zero_cat(self.rows).unbind(1))


class ImageMean(ImageMetric):
    """The average over images of one of their values.

    Args:
        value: A field of `ImageValues`.
    """

    def __init__(self, value: str) -> None:
        super().__init__()
        self.value = value

    def compute(self) -> Tensor:
        """Return the average."""
        value: Tensor = getattr(self.values(), self.value)
        return value.mean()


class ColorfulnessRatio(ImageMetric):
    """The predictions' mean colourfulness over the truth's; 1 is as colourful as the truth."""

    def compute(self) -> Tensor:
        """Return the ratio; a truth without any colour counts as 0.1 of 255."""
        values = self.values()
        truth = values.true_colorfulness.mean().clamp(min=COLORLESS)
        return values.colorfulness.mean() / truth


class HueCorrelation(ImageMetric):
    """The Pearson correlation over images of predicted with true mean a and b, the smaller.

    It asks whether the images that are warm are predicted warm: 0 where all predictions (or all
    truths) have the same mean colour, and where there are fewer than two images.
    """

    def compute(self) -> Tensor:
        """Return the smaller of the two correlations."""
        values = self.values()
        return torch.minimum(
            correlation(values.mean_a, values.true_mean_a),
            correlation(values.mean_b, values.true_mean_b),
        )


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's r of two (N,), 0 where one is constant."""
    # torchmetrics' PearsonCorrCoef would take the rounding of constants for a signal, and
    # torch.corrcoef is a matrix product, which autocast lowers.
    first, second = first - first.mean(), second - second.mean()
    if min(first.square().mean(), second.square().mean()) < CONSTANT**2:
        return torch.zeros_like(first[0])
    return cosine_similarity(first, second, dim=0)
