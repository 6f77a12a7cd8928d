"""Colorfulness shortfall."""

import torch
from torch import Tensor

from lightning_colorize.color import ColorBatch, colorfulness, to_rgb
from lightning_colorize.losses.base import Loss, predicted_ab


class Colorfulness(Loss):
    """How much less colorful predictions are than the truth, or than a given value.

    Colorfulness is defined as in the metric (Hasler and Suesstrunk 2003): 33 is moderate, 109
    extreme. Predictions that are more colorful are not rewarded, and neither are colors outside
    sRGB, which the conversion to RGB clips: add `OutOfGamut`. The loss has no gradient for an
    entirely grey image and does not say which color is right: use it in a `WeightedSum`.

    Args:
        cap: The colorfulness above which the loss is 0; null: the colorfulness of each true image.
    """

    def __init__(self, cap: float | None = None) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean shortfall over images, divided by 100."""
        predicted = colorfulness(to_rgb(batch.L, predicted_ab(prediction, batch)))
        with torch.no_grad():
            cap = colorfulness(to_rgb(batch.L, batch.ab)) if self.cap is None else self.cap
        return (cap - predicted).clamp(min=0.0).mean() / 100
