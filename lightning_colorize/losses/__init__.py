"""What a prediction costs: one loss a file, `Loss(prediction, batch) -> scalar`.

`AdversarialLoss(logits, real)` is what a GAN's two sides pay for a discriminator's logits.
"""

from lightning_colorize.losses.adversarial import LSGAN, AdversarialLoss, BCEAdversarial, Hinge
from lightning_colorize.losses.base import Loss
from lightning_colorize.losses.pixel import L1, MSE, Huber
from lightning_colorize.losses.weighted_sum import WeightedSum

__all__ = [
    "L1",
    "LSGAN",
    "MSE",
    "AdversarialLoss",
    "BCEAdversarial",
    "Hinge",
    "Huber",
    "Loss",
    "WeightedSum",
]
