"""Correlation over images of predicted with true mean colors."""

import torch
from torch import Tensor

from lightning_colorize.metrics.images import ImagePair

# Below this (in LAB units) the spread of mean colors over images is rounding.
_CONSTANT = 1e-3


def per_image(images: ImagePair) -> Tensor:
    """Return the mean a and b of prediction and truth in LAB units: (4, B)."""
    means = [ab.mean(dim=(2, 3)) for ab in (images.ab_hat, images.ab)]
    return torch.cat(means, dim=1).T


def over_images(values: Tensor) -> Tensor:
    """Return the Pearson correlation of mean a or that of mean b, the smaller one.

    It is high where images that are warm are predicted warm. It is 0 where all predictions (or all
    truths) have the same mean color, and nan for fewer than two images.

    Args:
        values: (4, ..., images): mean a and b, true mean a and b.

    Returns:
        (...).
    """
    mean_a, mean_b, true_a, true_b = values
    return torch.minimum(_correlation(mean_a, true_a), _correlation(mean_b, true_b))


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    # torchmetrics' PearsonCorrCoef would take the rounding of constants for a signal, and
    # torch.corrcoef is a matrix product, which autocast lowers.
    if first.shape[-1] < 2:
        return torch.full_like(first[..., 0], torch.nan)
    first, second = (x - x.mean(-1, keepdim=True) for x in (first, second))
    variances = first.square().mean(-1), second.square().mean(-1)
    r = (first * second).mean(-1) / (variances[0] * variances[1]).sqrt()
    return r.masked_fill(torch.minimum(*variances) < _CONSTANT**2, 0.0)
