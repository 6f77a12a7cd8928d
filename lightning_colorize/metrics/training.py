"""Figures of one training batch, by which a GAN's health is told."""

import torch
from torch import Tensor

from lightning_colorize.color import to_rgb
from lightning_colorize.metrics.collection import COLORLESS, correlation
from lightning_colorize.metrics.diversity import diversity_ratio
from lightning_colorize.metrics.functional import colorfulness


@torch.no_grad()
def batch_figures(L: Tensor, ab_hat: Tensor, ab: Tensor) -> dict[str, Tensor]:
    """Return `colorfulness_ratio`, `ab_corr` and `diversity` of a batch, scalars in fp32.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.
    """
    predicted, true = (colorfulness(to_rgb(L, colors)).mean() for colors in (ab_hat, ab))
    means_hat, means = (colors.float().mean(dim=(2, 3)) for colors in (ab_hat, ab))
    return {
        "colorfulness_ratio": predicted / true.clamp(min=COLORLESS),
        "ab_corr": torch.stack([correlation(means_hat[:, i], means[:, i]) for i in (0, 1)]).min(),
        "diversity": diversity_ratio(ab_hat, ab),
    }
