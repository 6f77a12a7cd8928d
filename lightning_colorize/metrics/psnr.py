"""Peak signal-to-noise ratio."""

from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from lightning_colorize.metrics.images import ImagePair

PSNR_CAP = 100.0
"""dB given to (all but) identical images, whose PSNR is infinite: one would spoil the average.
Rounding to 8 bits alone limits it to about 59 dB."""


def per_image(images: ImagePair) -> Tensor:
    """Return the PSNR of RGB in [0, 1], in dB, at most `PSNR_CAP`: (B,)."""
    psnr = peak_signal_noise_ratio(
        images.rgb_hat, images.rgb, data_range=1.0, dim=(1, 2, 3), reduction="none"
    )
    return psnr.clamp(max=PSNR_CAP)
