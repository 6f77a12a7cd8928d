"""Metrics of one training batch, for monitoring a GAN."""

import torch
from torch import Tensor

from lightning_colorize.metrics import formulas
from lightning_colorize.metrics.image_pair import ImagePair

# Below this (in LAB units) the distance between mean colors is rounding noise.
_EQUAL = 1e-3


@torch.no_grad()
def batch_metrics(L: Tensor, ab_hat: Tensor, ab: Tensor) -> dict[str, Tensor]:
    """Return `colorfulness_ratio`, `ab_corr` and `diversity` of a batch, scalars in fp32.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.
    """
    images = ImagePair(L, ab_hat, ab)
    return {
        "colorfulness_ratio": formulas.colorfulness_ratio_over_images(
            formulas.colorfulness_ratio(images)
        ),
        "ab_corr": formulas.ab_corr_over_images(formulas.ab_corr(images)),
        "diversity": diversity_ratio(ab_hat, ab),
    }


@torch.no_grad()
def diversity_ratio(ab_hat: Tensor, ab: Tensor) -> Tensor:
    """Return the spread of predicted mean colors over images, as a share of the true spread.

    The mean distance between the mean (a, b) of two images, over all pairs, divided by the same
    mean for the truth: 0 if all images have the same tint, 1 if they vary as much as the truth.

    Args:
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.

    Returns:
        A scalar, fp32; nan if the truth does not vary, or for a single image.
    """
    spread = _mean_distance(ab)
    return torch.where(spread > _EQUAL, _mean_distance(ab_hat) / spread, torch.nan)


def _mean_distance(ab: Tensor) -> Tensor:
    means = ab.float().mean(dim=(2, 3))
    distances: Tensor = (means[:, None] - means).norm(dim=2)
    # The distance of an image to itself is 0, and each pair occurs twice.
    return distances.sum() / max(len(means) * (len(means) - 1), 1)
