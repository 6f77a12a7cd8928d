"""Regression weighted by chroma."""

from torch import Tensor

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses.base import Loss, as_float32_pair


class ChromaWeighted(Loss):
    """Error of ab where saturated colors, which are rare, weigh more.

    A pixel of true chroma C weighs (C + offset) / mean(C + offset), the mean over the batch, so
    that the weights' mean is 1 and the loss is of the size of L1 or MSE.

    Args:
        offset: LAB units; the smaller it is, the less grey pixels weigh. At 20 a color of chroma 40
            weighs as much as three grey ones.
        squared: Squared error; else absolute.

    Raises:
        ValueError: If `offset` is not above 0.
    """

    def __init__(self, offset: float = 20.0, squared: bool = False) -> None:
        super().__init__()
        if offset <= 0:
            raise ValueError(f"offset must be above 0, not {offset}")
        self.offset = offset
        self.squared = squared

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the weighted mean over images, channels and pixels."""
        predicted, true = as_float32_pair(prediction, batch)
        error = predicted - true
        error = error.square() if self.squared else error.abs()
        weight: Tensor = batch.ab.norm(dim=1, keepdim=True) + self.offset
        return (weight / weight.mean() * error).mean()
