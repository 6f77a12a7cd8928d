"""The interface of a loss."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lightning_colorize.color import AB_SCALE, ColorBatch
from lightning_colorize.color.precision import at_least_fp32
from lightning_colorize.networks import AbHead, Head
from lightning_colorize.networks.base import Recorded


class Loss(Recorded, nn.Module, ABC):
    """A loss on predicted colors.

    Attributes:
        head: Class of the head that the loss needs.
    """

    head: type[Head] = AbHead

    def require_head(self, head: Head) -> None:
        """Check that the loss supports a head; regression losses decode the output of any head.

        Raises:
            ValueError: If it does not support the head.
        """
        if self.head is not AbHead and not isinstance(head, self.head):
            raise ValueError(
                f"{type(self).__name__} needs a {self.head.__name__}, not {type(head).__name__}; "
                "set head: null to choose it"
            )

    @abstractmethod
    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return a scalar.

        Args:
            prediction: Output of the network's head, e.g. (B, 2, H, W) in the head's range.
            batch: The images; `batch.target` is the truth in the format of the prediction.
        """

    def terms(self, prediction: Tensor, batch: ColorBatch) -> dict[str, Tensor]:
        """Return the weighted terms of the sum by name; empty for a single loss."""
        return {}


def as_float32_pair(prediction: Tensor, batch: ColorBatch) -> tuple[Tensor, Tensor]:
    """Return prediction and truth in at least fp32: a bf16 sum loses half of its digits.

    Classification predictions are decoded to ab in [-1, 1].
    """
    if batch.target is None:
        raise ValueError("batch.target is None: set it with the head's target first")
    if batch.target.shape != prediction.shape:
        return predicted_ab(prediction, batch) / AB_SCALE, batch.ab / AB_SCALE
    prediction = at_least_fp32(prediction)
    return prediction, batch.target.to(prediction.dtype)


def predicted_ab(prediction: Tensor, batch: ColorBatch) -> Tensor:
    """Return a prediction's ab, (B, 2, H, W) in LAB units, fp32, with gradients."""
    if batch.decode is None:
        raise ValueError("batch.decode is None: set it with the head's decoding first")
    return batch.decode(prediction)
