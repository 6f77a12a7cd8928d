"""Difference of spatial gradients."""

from torch import Tensor

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses.base import Loss, as_float32_pair


class Gradient(Loss):
    """Absolute difference between the spatial gradients of predicted and true ab.

    The gradient matching term of MegaDepth (Li and Snavely 2018), at one scale. It sharpens color
    edges. A constant error is not penalized: use it in a `WeightedSum`.
    """

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the sum over both directions, mean over images, channels and pixels."""
        predicted, true = as_float32_pair(prediction, batch)
        error = predicted - true
        # Not a mean of differences: an image of one pixel has none.
        return (error.diff(dim=-1).abs().sum() + error.diff(dim=-2).abs().sum()) / error.numel()
