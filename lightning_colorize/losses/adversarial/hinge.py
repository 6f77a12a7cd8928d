"""The hinge loss of GANs."""

from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.losses.adversarial.base import AdversarialLoss, at_least_fp32


class Hinge(AdversarialLoss):
    """The discriminator pays for logits within a margin of 1 or on the wrong side.

    The generator is paid the logit itself (Lim and Ye 2017, Miyato et al. 2018).
    """

    def forward(self, logits: Tensor, real: bool) -> Tensor:
        """Return what the discriminator pays: the mean over logits."""
        logits = at_least_fp32(logits)
        return F.relu(1 - logits if real else 1 + logits).mean()

    def generator(self, logits: Tensor) -> Tensor:
        """Return what the generator pays: less the mean over logits."""
        return -at_least_fp32(logits).mean()
