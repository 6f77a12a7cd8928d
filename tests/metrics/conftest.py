import pytest
import torch
from torch.nn import functional as F

from lightning_colorize.color import to_lab


def smooth_images(count, height=24, width=20, seed=0):
    """Colored blobs, (count, 3, H, W) in 0..1: the SSIM of noise means little."""
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.rand(count, 3, 5, 5, generator=generator)
    # Each image has its own cast, so that mean colors differ.
    cast = torch.rand(count, 3, 1, 1, generator=generator)
    return F.interpolate((blobs + cast) / 2, size=(height, width), mode="bilinear")


@pytest.fixture
def images():
    """L, predicted ab and true ab of eight images, in LAB units."""
    L, ab = to_lab(smooth_images(8))
    noise = torch.randn(ab.shape, generator=torch.Generator().manual_seed(1))
    return L, 0.6 * ab + 4 * noise, ab
