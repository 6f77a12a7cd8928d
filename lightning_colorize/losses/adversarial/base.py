"""The interface of an adversarial loss."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lightning_colorize.color.precision import at_least_fp32
from lightning_colorize.networks.base import Recorded


class AdversarialLoss(Recorded, nn.Module, ABC):
    """Losses of discriminator and generator on the discriminator's logits.

    Computed in fp32 even under autocast (fp64 for fp64 logits).

    Attributes:
        boundary: Logits above this count as real.
    """

    boundary: float = 0.0

    @abstractmethod
    def forward(self, logits: Tensor, real: bool) -> Tensor:
        """Return the discriminator's loss, a scalar: the mean over logits.

        Args:
            logits: (B, 1, h, w), of any floating dtype.
            real: Whether the logits are of real colors.
        """

    def generator(self, logits: Tensor) -> Tensor:
        """Return the generator's loss, a scalar.

        Non-saturating (Goodfellow et al. 2014): the gradient does not vanish where the
        discriminator is confident.
        """
        loss: Tensor = self(logits, real=True)
        return loss

    def chance(self) -> float:
        """Return the loss of a discriminator at chance level, real plus predicted."""
        logits = torch.full((1, 1, 1, 1), self.boundary)
        return float(self(logits, real=True) + self(logits, real=False))

    def score(self, logits: Tensor) -> Tensor:
        """Return how real the colors look to the discriminator, (B, 1, h, w), for logging."""
        return at_least_fp32(logits)
