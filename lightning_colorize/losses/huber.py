"""Huber loss."""

from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses.base import Loss, as_float32_pair


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
