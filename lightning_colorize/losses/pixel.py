"""Losses of each pixel's error of ab."""

from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses.base import Loss, as_float32_pair


class L1(Loss):
    """Mean absolute error of ab: its minimizer is the median, less desaturated than MSE's mean."""

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean over images, channels and pixels."""
        return F.l1_loss(*as_float32_pair(prediction, batch))


class MSE(Loss):
    """Mean squared error of ab."""

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean over images, channels and pixels."""
        return F.mse_loss(*as_float32_pair(prediction, batch))


class Huber(Loss):
    """Squared for small errors, absolute for large ones (Zhang et al. 2017).

    Args:
        delta: The threshold between the two, in the head's range.
    """

    def __init__(self, delta: float = 0.1) -> None:
        super().__init__()
        if delta <= 0:
            raise ValueError(f"delta must be above 0, not {delta}")
        self.delta = delta

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean over images, channels and pixels."""
        return F.huber_loss(*as_float32_pair(prediction, batch), delta=self.delta)


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
