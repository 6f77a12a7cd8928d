"""The predictions' mean colorfulness over the truth's."""

import torch
from torch import Tensor

from lightning_colorize.metrics.colorfulness import COLORLESS, colorfulness
from lightning_colorize.metrics.images import ImagePair


def per_image(images: ImagePair) -> Tensor:
    """Return the colorfulness of prediction and truth: (2, B)."""
    return torch.stack([colorfulness(images.rgb_hat), colorfulness(images.rgb)])


def over_images(values: Tensor) -> Tensor:
    """Return the ratio of the means: (2, ..., images) to (...); a grey truth counts as 0.1."""
    predicted, true = values.mean(-1)
    ratio: Tensor = predicted / true.clamp(min=COLORLESS)
    return ratio
