"""What is measured of each image; the collection and the tables of single images share it."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from lightning_colorize.color import full_precision, to_lab, to_rgb
from lightning_colorize.color.delta_e import ciede2000

PSNR_CAP = 100.0
"""dB given to (all but) identical images, whose PSNR is infinite: one would spoil the average.
Rounding to 8 bits alone costs more, about 59 dB."""

_SSIM_WINDOW = 11


class ImageValues(NamedTuple):
    """One value per image, each (B,), fp32.

    Attributes:
        mse_ab: Squared error of ab in LAB units, mean over pixels and both channels.
        psnr: In dB, of RGB in 0..1, at most `PSNR_CAP`.
        ssim: Structural similarity of RGB, mean over pixels and channels.
        ciede2000: Mean over pixels of the difference between the RGB images.
        colorfulness: Of the prediction.
        true_colorfulness: Of the truth.
        mean_a: Mean predicted a in LAB units.
        mean_b: Mean predicted b in LAB units.
        true_mean_a: Mean true a in LAB units.
        true_mean_b: Mean true b in LAB units.
    """

    mse_ab: Tensor
    psnr: Tensor
    ssim: Tensor
    ciede2000: Tensor
    colorfulness: Tensor
    true_colorfulness: Tensor
    mean_a: Tensor
    mean_b: Tensor
    true_mean_a: Tensor
    true_mean_b: Tensor


_SHOWN = ("psnr", "ssim", "ciede2000", "mse_ab", "colorfulness")


def per_image(L: Tensor, ab_hat: Tensor, ab: Tensor) -> dict[str, Tensor]:
    """Return `psnr`, `ssim`, `ciede2000`, `mse_ab` and `colorfulness` of each image, each (B,).

    Args:
        L: (B, 1, H, W) in [0, 100], the lightness of the true colours.
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.
    """
    values = measure(L, ab_hat, ab)._asdict()
    return {name: values[name] for name in _SHOWN}


@torch.no_grad()
def measure(L: Tensor, ab_hat: Tensor, ab: Tensor, L_hat: Tensor | None = None) -> ImageValues:
    """Measure each image on the RGB rebuilt from L, in fp32 with autocast off.

    Args:
        L: (B, 1, H, W) in [0, 100], the lightness of the true colours.
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.
        L_hat: (B, 1, H, W) in [0, 100], of images that were coloured elsewhere: a change of
            lightness is then an error too. None: the true one, which a colouriser keeps.
    """
    L, ab_hat, ab = L.float(), ab_hat.float(), ab.float()
    with full_precision(L):
        rgb_hat, rgb = to_rgb(L if L_hat is None else L_hat, ab_hat), to_rgb(L, ab)
        mean_a, mean_b = ab_hat.mean(dim=(2, 3)).unbind(1)
        true_mean_a, true_mean_b = ab.mean(dim=(2, 3)).unbind(1)
        return ImageValues(
            mse_ab=(ab_hat - ab).square().mean(dim=(1, 2, 3)),
            psnr=_psnr(rgb_hat, rgb),
            ssim=_ssim(rgb_hat, rgb),
            ciede2000=ciede2000(to_lab(rgb_hat), to_lab(rgb)).mean(dim=(1, 2, 3)),
            colorfulness=colorfulness(rgb_hat),
            true_colorfulness=colorfulness(rgb),
            mean_a=mean_a,
            mean_b=mean_b,
            true_mean_a=true_mean_a,
            true_mean_b=true_mean_b,
        )


def colorfulness(rgb: Tensor) -> Tensor:
    """Return how colourful each image is: 0 for grey, about 33 moderately, 80 and more very.

    After Hasler & Suesstrunk, "Measuring colourfulness in natural images", 2003.

    Args:
        rgb: (B, 3, H, W), floating point in 0..1; it is measured on the scale of 0..255.

    Returns:
        (B,), fp32.
    """
    red, green, blue = (rgb.float() * 255).flatten(2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])
    spread: Tensor = opponents.std(dim=2, correction=0).norm(dim=0)
    distance: Tensor = opponents.mean(dim=2).norm(dim=0)
    return spread + 0.3 * distance


def _psnr(rgb_hat: Tensor, rgb: Tensor) -> Tensor:
    psnr = peak_signal_noise_ratio(rgb_hat, rgb, data_range=1.0, dim=(1, 2, 3), reduction="none")
    return psnr.clamp(max=PSNR_CAP)


def _ssim(rgb_hat: Tensor, rgb: Tensor) -> Tensor:
    # The window does not fit into smaller images: their last row and column are repeated.
    height, width = rgb.shape[-2:]
    missing = (0, max(_SSIM_WINDOW - width, 0), 0, max(_SSIM_WINDOW - height, 0))
    rgb_hat, rgb = (F.pad(image, missing, mode="replicate") for image in (rgb_hat, rgb))
    ssim = structural_similarity_index_measure(rgb_hat, rgb, data_range=1.0, reduction="none")
    assert isinstance(ssim, Tensor)
    # The functional metric squeezes a batch of one.
    return ssim.view(len(rgb))
