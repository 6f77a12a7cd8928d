"""Whether different images get different colours, or all the same tint."""

import torch
from torch import Tensor

# Below this (in LAB units) the distance between mean colours is rounding.
_EQUAL = 1e-3


@torch.no_grad()
def diversity_ratio(ab_hat: Tensor, ab: Tensor) -> Tensor:
    """Return how far apart predicted images' mean colours are, as a share of the true ones'.

    The mean over pairs of images of the distance between their mean (a, b), divided by the same
    of the truth: 0 is one tint for everything, 1 as varied as the truth.

    Args:
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.

    Returns:
        A scalar, fp32; nan where the truth does not vary (or there is only one image), which
        says nothing about the prediction.
    """
    spread = _mean_distance(ab)
    return torch.where(spread > _EQUAL, _mean_distance(ab_hat) / spread, torch.nan)


def _mean_distance(ab: Tensor) -> Tensor:
    means = ab.float().mean(dim=(2, 3))
    distances: Tensor = (means[:, None] - means).norm(dim=2)
    # Nothing is between an image and itself, and a pair stands here twice.
    return distances.sum() / max(len(means) * (len(means) - 1), 1)
