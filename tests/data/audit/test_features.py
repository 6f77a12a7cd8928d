import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from lightning_colorize.data.audit.features import (
    NEAR_GREY,
    audit_image,
    grey_chroma,
    perceptual_hashes,
)


def planes(rgb):
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


@pytest.mark.parametrize("noise", [0, 1])
def test_hashes_without_contrast_are_zero(noise):
    flat = np.random.default_rng(0).integers(128, 129 + noise, (3, 64, 64), dtype=np.uint8)
    assert not perceptual_hashes(torch.from_numpy(flat)).any()


def of_chroma(chroma, height=60, width=80):
    """An image of many lightnesses and all hues with one chroma."""
    hue = np.linspace(0, 2 * np.pi, width)
    lab = np.zeros((height, width, 3))
    lab[..., 0] = np.linspace(35, 75, height)[:, None]
    lab[..., 1], lab[..., 2] = chroma * np.cos(hue), chroma * np.sin(hue)
    return (lab2rgb(lab) * 255).round().astype(np.uint8)


def percentile(rgb):
    return np.percentile(np.linalg.norm(rgb2lab(rgb)[..., 1:], axis=-1), 95)


def measured(rgb):
    return grey_chroma(planes(rgb))


@pytest.mark.parametrize("chroma", [0, 2, 4.5, 5.5, 8])
def test_chroma_matches_scikit_image(chroma):
    rgb = of_chroma(chroma)
    assert measured(rgb) == pytest.approx(percentile(rgb), abs=0.02)
    assert (measured(rgb) < NEAR_GREY) == (chroma < 5)


@pytest.mark.parametrize(("share", "grey"), [(0.03, True), (0.048, True), (0.06, False)])
def test_a_grey_image_may_have_a_few_colored_pixels(photographs, share, grey):
    rgb = np.repeat(photographs[0][..., :1], 3, axis=-1)
    rgb.reshape(-1, 3)[: round(share * 128 * 128)] = (200, 40, 40)
    assert (measured(rgb) < NEAR_GREY) == grey == (percentile(rgb) < 5)


def test_colorfulness_is_of_absolute_differences(photographs):
    """As BigColor's code measures it."""
    red, green, blue = photographs[0].reshape(-1, 3).T.astype(float)
    opponents = np.abs([red - green, (red + green) / 2 - blue])
    expected = np.linalg.norm(opponents.std(1)) + 0.3 * np.linalg.norm(opponents.mean(1))
    Image.fromarray(photographs[0]).save(file := io.BytesIO(), "PNG")
    features = audit_image(file.getvalue(), Path("a.png"))
    assert features["colorfulness"] == pytest.approx(expected, abs=0.01)
