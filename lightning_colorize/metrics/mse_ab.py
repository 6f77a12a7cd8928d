"""Mean squared error of ab."""

from torch import Tensor

from lightning_colorize.metrics.images import ImagePair


def per_image(images: ImagePair) -> Tensor:
    """Return the squared error in LAB units squared, mean over pixels and both channels: (B,)."""
    return (images.ab_hat - images.ab).square().mean(dim=(1, 2, 3))
