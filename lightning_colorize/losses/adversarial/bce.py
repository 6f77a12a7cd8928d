"""Binary cross-entropy, the loss of pix2pix."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color.precision import at_least_fp32
from lightning_colorize.losses.adversarial.base import AdversarialLoss


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
