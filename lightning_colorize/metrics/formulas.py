"""Implementations of the metrics in `spec`, under the same names.

`NAME` returns the metric of each image, (B,). For a metric that is computed from several `columns`,
it returns one value per column and image, (columns, B), and `NAME_over_images` reduces them.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from lightning_colorize.metrics.image_pair import ImagePair

PSNR_CAP = 100.0
"""Upper limit of the PSNR, in dB: identical images have an infinite PSNR, which
would spoil the average. Rounding to 8 bits alone limits it to about 59 dB."""

_WINDOW = 11  # of SSIM, in pixels
COLORLESS = 0.1
"""Lower bound of a colorfulness as a divisor: grey images have less."""

# Below this (in LAB units) the spread of mean colors over images is rounding noise: in LAB, greys
# of 8 bits differ by up to 0.005 in b, because the digits of sRGB's matrix are rounded.
_CONSTANT = 1e-2


def psnr(images: ImagePair) -> Tensor:
    """Return the PSNR of RGB in [0, 1], in dB, at most `PSNR_CAP`: (B,)."""
    value = peak_signal_noise_ratio(
        images.rgb_hat, images.rgb, data_range=1.0, dim=(1, 2, 3), reduction="none"
    )
    return value.clamp(max=PSNR_CAP)


def ssim(images: ImagePair) -> Tensor:
    """Return the SSIM of RGB, mean over all pixels and channels: (B,).

    torchmetrics' definition: a Gaussian window of 11 pixels (sigma 1.5) with population variances,
    and mirrored edges, so that the border counts.
    """
    # The window does not fit into smaller images, so their last row and column are repeated.
    height, width = images.rgb.shape[-2:]
    missing = (0, max(_WINDOW - width, 0), 0, max(_WINDOW - height, 0))
    rgb_hat, rgb = (F.pad(rgb, missing, mode="replicate") for rgb in (images.rgb_hat, images.rgb))
    value = structural_similarity_index_measure(rgb_hat, rgb, data_range=1.0, reduction="none")
    assert isinstance(value, Tensor)
    # The functional metric squeezes a batch of one.
    return value.view(len(rgb))


def ciede2000(images: ImagePair) -> Tensor:
    """Return the mean CIEDE2000 over pixels between the RGB images: (B,)."""
    return images.ciede2000.mean(dim=(1, 2, 3))


def mse_ab(images: ImagePair) -> Tensor:
    """Return the squared error in LAB units squared, mean over pixels and both channels: (B,)."""
    return (images.ab_hat - images.ab).square().mean(dim=(1, 2, 3))


def mae_ab(images: ImagePair) -> Tensor:
    """Return the absolute error in LAB units, mean over pixels and both channels: (B,)."""
    return (images.ab_hat - images.ab).abs().mean(dim=(1, 2, 3))


def colorfulness(images: ImagePair) -> Tensor:
    """Return the colorfulness of the predictions: (B,)."""
    return images.colorfulness[0]


def colorfulness_ratio(images: ImagePair) -> Tensor:
    """Return the colorfulness of prediction and truth: (2, B)."""
    return images.colorfulness


def colorfulness_ratio_over_images(values: Tensor) -> Tensor:
    """Return the ratio of the means over images, (...), not the mean of the ratios.

    `values`, (2, ..., images), are the colorfulness of prediction and truth. A grey truth counts as
    0.1.
    """
    predicted, true = values.mean(-1)
    ratio: Tensor = predicted / true.clamp(min=COLORLESS)
    return ratio


def ab_corr(images: ImagePair) -> Tensor:
    """Return the mean a and b of prediction and truth in LAB units: (4, B)."""
    means = [ab.mean(dim=(2, 3)) for ab in (images.ab_hat, images.ab)]
    return torch.cat(means, dim=1).T


def ab_corr_over_images(values: Tensor) -> Tensor:
    """Return the smaller of the Pearson correlations of mean a and of mean b: (...).

    It is high if warm images are predicted warm, 0 if all predictions (or all truths) have the same
    mean color, and nan for fewer than three images, of which two always correlate by 1 or -1.
    `values`, (4, ..., images), are mean a and b, true mean a and b.
    """
    mean_a, mean_b, true_a, true_b = values
    return torch.minimum(_correlation(mean_a, true_a), _correlation(mean_b, true_b))


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    # torchmetrics' PearsonCorrCoef would take the rounding noise of constants for a signal, and
    # torch.corrcoef is a matrix product, to which autocast applies.
    if first.shape[-1] < 3:
        return torch.full_like(first[..., 0], torch.nan)
    first, second = (x - x.mean(-1, keepdim=True) for x in (first, second))
    variances = first.square().mean(-1), second.square().mean(-1)
    r = (first * second).mean(-1) / (variances[0] * variances[1]).sqrt()
    return r.masked_fill(torch.minimum(*variances) < _CONSTANT**2, 0.0)
