"""Mean absolute error of ab."""

from torch import Tensor

from lightning_colorize.metrics.images import ImagePair


def per_image(images: ImagePair) -> Tensor:
    """Return the absolute error in LAB units, mean over pixels and both channels: (B,)."""
    return (images.ab_hat - images.ab).abs().mean(dim=(1, 2, 3))
