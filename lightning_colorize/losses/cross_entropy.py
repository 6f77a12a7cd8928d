"""Cross-entropy with soft codes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses.base import Loss
from lightning_colorize.networks import ClassificationHead


class CrossEntropy(Loss):
    """Weighted cross-entropy between a `ClassificationHead`'s bins and the soft code of the truth.

    Zhang et al. 2016, equation 2: the weight of a pixel is that of its nearest bin, so rare colors
    count as much as frequent ones.
    """

    head = ClassificationHead

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean over images and pixels.

        Raises:
            ValueError: If the head is no `ClassificationHead`.
        """
        if batch.target is None or batch.target.shape == prediction.shape:
            raise ValueError("CrossEntropy needs a ClassificationHead")
        # Bins last, as a channels-last map stores them, halve the time of softmax and its gradient.
        nearest, codes = batch.target.movedim(1, -1).chunk(2, dim=-1)
        log_shares = F.log_softmax(prediction.movedim(1, -1), dim=-1, dtype=torch.float32)
        return -(codes * log_shares.gather(-1, nearest.long())).sum(-1).mean()
