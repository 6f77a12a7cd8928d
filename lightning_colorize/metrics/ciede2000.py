"""CIEDE2000, the perceived difference of colors."""

from torch import Tensor

from lightning_colorize.color.delta_e import ciede2000
from lightning_colorize.metrics.images import ImagePair


def per_image(images: ImagePair) -> Tensor:
    """Return the mean over pixels of the difference between the RGB images: (B,)."""
    return ciede2000(images.lab_hat, images.lab).mean(dim=(1, 2, 3))
