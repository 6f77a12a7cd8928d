"""The contract of a loss."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lightning_colorize.color import ColorBatch
from lightning_colorize.networks.base import Recorded


class Loss(Recorded, nn.Module, ABC):
    """What a prediction costs."""

    @abstractmethod
    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return a scalar.

        Args:
            prediction: What the network's head gives, e.g. (B, 2, H, W) in the head's range.
            batch: The photographs; `batch.target` is the truth in the prediction's form.
        """

    def terms(self, prediction: Tensor, batch: ColorBatch) -> dict[str, Tensor]:
        """Return the named scalars that `forward` adds up, weighted; empty for a single loss."""
        return {}
