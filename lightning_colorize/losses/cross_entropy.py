"""Cross-entropy with soft codes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses.base import Loss
from lightning_colorize.networks import ClassificationHead


class CrossEntropy(Loss):
    """Weighted cross-entropy between a `ClassificationHead`'s bins and the soft code of the truth.

    Zhang et al. 2016, equation 2: each pixel has the weight of its nearest bin, so rare colors
    count as much as frequent ones.
    """

    head = ClassificationHead

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean over images and pixels; a ValueError for predictions of other heads."""
        if batch.target is None or batch.target.shape == prediction.shape:
            raise ValueError("CrossEntropy needs a ClassificationHead")
        # Having the bins last, as in a channels-last map, halves the time of softmax and its
        # gradient.
        nearest, codes = batch.target.movedim(1, -1).chunk(2, dim=-1)
        log_shares = F.log_softmax(prediction.movedim(1, -1), dim=-1, dtype=torch.float32)
        return -(codes * log_shares.gather(-1, nearest.long())).sum(-1).mean()
