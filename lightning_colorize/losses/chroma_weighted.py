"""Chroma-weighted regression."""

from torch import Tensor

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses.base import Loss, as_float32_pair


class ChromaWeighted(Loss):
    """Error of ab with a higher weight for saturated colors, which are rare.

    A pixel of true chroma C weighs (C + offset) / mean(C + offset), with the mean over the batch.
    The mean weight is 1, so the loss has the scale of L1 or MSE.

    Args:
        offset: In LAB units; smaller values give grey pixels less weight. At 20, a color of chroma
            40 has three times the weight of a grey one.
        squared: Use the squared instead of the absolute error.

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
