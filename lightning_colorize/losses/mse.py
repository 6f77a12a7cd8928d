"""Mean squared error."""

from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses.base import Loss, as_float32_pair


class MSE(Loss):
    """Mean squared error of ab."""

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean over images, channels and pixels."""
        return F.mse_loss(*as_float32_pair(prediction, batch))
