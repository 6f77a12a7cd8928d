"""The interface of a loss."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lightning_colorize.color import AB_SCALE, ColorBatch
from lightning_colorize.networks import AbHead, Head
from lightning_colorize.networks.base import Recorded


class Loss(Recorded, nn.Module, ABC):
    """A loss of predicted colors.

    Attributes:
        head: The head that the loss needs.
    """

    head: type[Head] = AbHead

    def require_head(self, head: Head) -> None:
        """Check that a head fits; a regression's loss takes the decoded colors of any.

        Raises:
            ValueError: If it does not.
        """
        if self.head is not AbHead and not isinstance(head, self.head):
            raise ValueError(
                f"{type(self).__name__} needs a {self.head.__name__}, not {type(head).__name__}; "
                "head: null chooses it"
            )

    @abstractmethod
    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return a scalar.

        Args:
            prediction: Output of the network's head, e.g. (B, 2, H, W) in the head's range.
            batch: The images; `batch.target` is the truth in the prediction's form.
        """

    def terms(self, prediction: Tensor, batch: ColorBatch) -> dict[str, Tensor]:
        """Return the weighted, named terms of the sum; empty for a single loss."""
        return {}


def as_float32_pair(prediction: Tensor, batch: ColorBatch) -> tuple[Tensor, Tensor]:
    """Return prediction and truth in fp32 at least: a bf16 sum loses half of its digits.

    Those of a classification are decoded, to ab in [-1, 1].
    """
    if batch.target is None:
        raise ValueError("batch.target is None: give the batch the head's target first")
    if batch.target.shape != prediction.shape:
        return predicted_ab(prediction, batch) / AB_SCALE, batch.ab / AB_SCALE
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    return prediction.to(dtype), batch.target.to(dtype)


def predicted_ab(prediction: Tensor, batch: ColorBatch) -> Tensor:
    """Return a prediction's ab, (B, 2, H, W) in LAB units, fp32, with gradients."""
    if batch.decode is None:
        raise ValueError("batch.decode is None: give the batch the head's decoding first")
    return batch.decode(prediction)
