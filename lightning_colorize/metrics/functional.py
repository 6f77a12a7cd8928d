"""All metrics of `spec`, per image and reduced over images."""

import torch
from torch import Tensor

from lightning_colorize.color import full_precision
from lightning_colorize.metrics import formulas
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.metrics.spec import COLUMNS, METRICS, Metric


def measure(L: Tensor, ab_hat: Tensor, ab: Tensor, L_hat: Tensor | None = None) -> Tensor:
    """Measure each image on the RGB rebuilt from L, in fp32 with autocast off.

    Args:
        L: (B, 1, H, W) in [0, 100], the lightness of the true colors.
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.
        L_hat: (B, 1, H, W) in [0, 100], the lightness of images that were colorized elsewhere, so
            that changes of lightness count as errors too. None for the true lightness.

    Returns:
        (columns, B), fp32: the per-image values in the order of `spec.COLUMNS`.
    """
    return measure_pair(ImagePair(L, ab_hat, ab, L_hat))


@torch.no_grad()
def measure_pair(images: ImagePair) -> Tensor:
    """Like `measure`, for an `ImagePair`, whose conversions the caller can reuse."""
    values: dict[str, Tensor] = {}
    with full_precision(images.L):
        for metric in METRICS:
            measured = getattr(formulas, metric.name)(images)
            values |= zip(metric.inputs, measured.view(-1, len(images.L)), strict=True)
    return torch.stack([values[column] for column in COLUMNS])


def per_image(L: Tensor, ab_hat: Tensor, ab: Tensor) -> dict[str, Tensor]:
    """Return all per-image metrics, each (B,); the arguments are the same as for `measure`."""
    values = dict(zip(COLUMNS, measure(L, ab_hat, ab), strict=True))
    return {metric.name: values[metric.name] for metric in METRICS if metric.per_image}


def over_images(metric: Metric, values: Tensor) -> Tensor:
    """Return a metric over images, for any number of image sets.

    Args:
        metric: A row of `spec.METRICS`.
        values: (columns, ..., images), as `measure` returns them.

    Returns:
        (...).
    """
    chosen = values[[COLUMNS.index(column) for column in metric.inputs]]
    if metric.per_image:
        return chosen[0].mean(-1)
    reduced: Tensor = getattr(formulas, f"{metric.name}_over_images")(chosen)
    return reduced
