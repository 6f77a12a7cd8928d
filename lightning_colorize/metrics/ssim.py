"""Structural similarity."""

from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from lightning_colorize.metrics.images import ImagePair

_WINDOW = 11


def per_image(images: ImagePair) -> Tensor:
    """Return the SSIM of RGB, mean over pixels and channels: (B,)."""
    # The window does not fit into smaller images: their last row and column are repeated.
    height, width = images.rgb.shape[-2:]
    missing = (0, max(_WINDOW - width, 0), 0, max(_WINDOW - height, 0))
    rgb_hat, rgb = (F.pad(rgb, missing, mode="replicate") for rgb in (images.rgb_hat, images.rgb))
    ssim = structural_similarity_index_measure(rgb_hat, rgb, data_range=1.0, reduction="none")
    assert isinstance(ssim, Tensor)
    # The functional metric squeezes a batch of one.
    return ssim.view(len(rgb))
