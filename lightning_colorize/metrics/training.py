"""Metrics of one training batch, for monitoring a GAN."""

import torch
from torch import Tensor

from lightning_colorize.metrics import ab_corr, colorfulness_ratio
from lightning_colorize.metrics.diversity import diversity_ratio
from lightning_colorize.metrics.images import ImagePair


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
        "colorfulness_ratio": colorfulness_ratio.over_images(colorfulness_ratio.per_image(images)),
        "ab_corr": ab_corr.over_images(ab_corr.per_image(images)),
        "diversity": diversity_ratio(ab_hat, ab),
    }
