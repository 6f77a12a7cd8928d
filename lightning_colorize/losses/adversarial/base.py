"""The contract of an adversarial loss."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lightning_colorize.networks.base import Recorded


class AdversarialLoss(Recorded, nn.Module, ABC):
    """What discriminator and generator pay for the discriminator's logits.

    In fp32 whatever the autocast (fp64 for fp64): `at_least_fp32` of the logits comes first.

    Attributes:
        boundary: The discriminator calls real what has a logit above this.
    """

    boundary: float = 0.0

    @abstractmethod
    def forward(self, logits: Tensor, real: bool) -> Tensor:
        """Return what the discriminator pays, a scalar: the mean over logits.

        Args:
            logits: (B, 1, h, w), of any floating dtype.
            real: Whether the colours that were judged are true ones.
        """

    def generator(self, logits: Tensor) -> Tensor:
        """Return what the generator pays for how its colours were judged, a scalar.

        It is paid for being called real, not fined for being called false: the gradient does not
        vanish where the discriminator is sure (non-saturating, Goodfellow et al. 2014).

        Args:
            logits: (B, 1, h, w) of predicted colours, of any floating dtype.
        """
        loss: Tensor = self(logits, real=True)
        return loss

    def chance(self) -> float:
        """Return what a discriminator pays, for true and predicted colours, that cannot tell."""
        logits = torch.full((1, 1, 1, 1), self.boundary)
        return float(self(logits, real=True) + self(logits, real=False))

    def score(self, logits: Tensor) -> Tensor:
        """Return how true colours look to the discriminator, (B, 1, h, w), for curves."""
        return at_least_fp32(logits)


def at_least_fp32(logits: Tensor) -> Tensor:
    """Return logits in fp32, or fp64 if they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
