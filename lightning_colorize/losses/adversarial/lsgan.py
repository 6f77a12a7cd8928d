"""The loss of least-squares GANs."""

from torch import Tensor

from lightning_colorize.color.precision import at_least_fp32
from lightning_colorize.losses.adversarial.base import AdversarialLoss


class LSGAN(AdversarialLoss):
    """Squared distance of logits from 1 for real colors and from 0 for predicted ones.

    Mao et al. 2017, without the factor of 1/2, as in pix2pix's code.
    """

    boundary = 0.5

    def forward(self, logits: Tensor, real: bool) -> Tensor:
        """Return the discriminator's loss: the mean over logits."""
        return (at_least_fp32(logits) - float(real)).square().mean()
