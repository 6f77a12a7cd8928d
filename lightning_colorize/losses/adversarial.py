"""Adversarial losses."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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

        Args:
            logits: (B, 1, h, w) of predicted colors, of any floating dtype.
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


def at_least_fp32(logits: Tensor) -> Tensor:
    """Return logits in fp32; fp64 logits stay fp64."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class BCEAdversarial(AdversarialLoss):
    """Binary cross-entropy (Goodfellow et al. 2014), non-saturating for the generator.

    Args:
        label_smoothing: The discriminator's target for real colors is 1 minus this (Salimans et al.
            2016). Targets of predicted colors stay 0, and the generator's target 1.

    Raises:
        ValueError: If `label_smoothing` is not in [0, 0.5).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be in [0, 0.5), not {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, real: bool) -> Tensor:
        """Return the discriminator's loss: the mean over logits."""
        return _cross_entropy(logits, 1 - self.label_smoothing if real else 0.0)

    def generator(self, logits: Tensor) -> Tensor:
        """Return the generator's loss: the mean over logits."""
        return _cross_entropy(logits, 1.0)

    def score(self, logits: Tensor) -> Tensor:
        """Return the probability of real colors: (B, 1, h, w)."""
        return at_least_fp32(logits).sigmoid()


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    logits = at_least_fp32(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


class LSGAN(AdversarialLoss):
    """Squared distance of logits from 1 for real colors and from 0 for predicted ones.

    Mao et al. 2017, without the factor of 1/2, as in pix2pix's code.
    """

    boundary = 0.5

    def forward(self, logits: Tensor, real: bool) -> Tensor:
        """Return the discriminator's loss: the mean over logits."""
        return (at_least_fp32(logits) - float(real)).square().mean()


class Hinge(AdversarialLoss):
    """Hinge loss with a margin of 1 for the discriminator (Lim and Ye 2017, Miyato et al. 2018).

    The generator maximizes the logit.
    """

    def forward(self, logits: Tensor, real: bool) -> Tensor:
        """Return the discriminator's loss: the mean over logits."""
        logits = at_least_fp32(logits)
        return F.relu(1 - logits if real else 1 + logits).mean()

    def generator(self, logits: Tensor) -> Tensor:
        """Return the generator's loss: minus the mean over logits."""
        return -at_least_fp32(logits).mean()
