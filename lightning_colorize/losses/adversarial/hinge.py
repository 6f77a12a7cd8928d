"""The hinge loss of GANs."""

from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color.precision import at_least_fp32
from lightning_colorize.losses.adversarial.base import AdversarialLoss


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
