"""Losses on single pixels' ab: MSE, L1 and Huber, in the head's range."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses.base import Loss


def _pair(prediction: Tensor, batch: ColorBatch) -> tuple[Tensor, Tensor]:
    """Return prediction and truth in fp32 at least: a bf16 sum loses half of its digits."""
    if batch.target is None:
        raise ValueError("batch.target is None: give the batch the head's target first")
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    return prediction.to(dtype), batch.target.to(dtype)


class MSE(Loss):
    """Mean squared error of ab, as all five published regression systems use it."""

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean over images, channels and pixels."""
        return F.mse_loss(*_pair(prediction, batch))


class L1(Loss):
    """Mean absolute error of ab: its minimiser is the median, less grey than MSE's mean."""

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean over images, channels and pixels."""
        return F.l1_loss(*_pair(prediction, batch))


class Huber(Loss):
    """Squared for small errors, absolute for large ones.

    Zhang et al. 2017, "Real-Time User-Guided Image Colorization", trains with it.

    Args:
        delta: Where the one becomes the other, in the head's range.
    """

    def __init__(self, delta: float = 0.1) -> None:
        super().__init__()
        if delta <= 0:
            raise ValueError(f"delta must be above 0, not {delta}")
        self.delta = delta

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean over images, channels and pixels."""
        return F.huber_loss(*_pair(prediction, batch), delta=self.delta)
