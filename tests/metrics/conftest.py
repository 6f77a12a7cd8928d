import pytest
import torch

from tests.losses.conftest import smooth_images


@pytest.fixture
def images():
    """L, predicted ab and true ab of eight images, in LAB units."""
    L, ab = smooth_images(0, count=8)
    noise = torch.randn(ab.shape, generator=torch.Generator().manual_seed(1))
    return L, 0.6 * ab + 4 * noise, ab
