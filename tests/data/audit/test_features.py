import math
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from lightning_colorize.data.audit.duplicates import RADIUS
from lightning_colorize.data.audit.features import (
    LENGTH,
    MIRRORED,
    NEAR_GREY,
    descriptor,
    grey_chroma,
)
from lightning_colorize.data.decoding.files import decode_image


def planes(rgb):
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def halved(rgb, quality=70):
    """Half the size, as JPEG."""
    height, width = rgb.shape[:2]
    file = BytesIO()
    small = Image.fromarray(rgb).resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    small.save(file, "JPEG", quality=quality)
    return decode_image(file.getvalue(), Path("half.jpg"), 128)


def test_descriptor_is_the_cosine_transform():
    x = (np.arange(32) + 0.5) / 32
    wave = np.outer(np.cos(3 * np.pi * x), np.cos(2 * np.pi * x))
    grey = (128 + 100 * wave).round().astype(np.uint8)
    features = descriptor(planes(np.repeat(grey[..., None], 3, axis=-1)))
    assert features.shape == (LENGTH,) == (35,)
    # Row by row, without the zeroth: 7 frequencies, then 7, 6, and of the fourth row the third.
    expected = np.zeros(35)
    expected[7 + 7 + 6 + 2] = 1
    np.testing.assert_allclose(features, expected, atol=0.01)


def test_half_size_copies_are_near_and_others_are_far(photographs):
    features = np.stack([descriptor(planes(rgb)) for rgb in photographs])
    copies = np.stack([descriptor(halved(rgb)) for rgb in photographs])
    apart = np.linalg.norm(features[:, None] - copies[None], axis=-1)
    assert np.diagonal(apart).max() < RADIUS  # the largest is that of a night sky
    assert np.median(np.diagonal(apart)) < RADIUS / 5
    assert apart[~np.eye(len(features), dtype=bool)].min() > 3 * RADIUS


def test_descriptor_is_invariant_to_size_brightness_contrast_and_color(photographs):
    rgb = photographs[2]
    features = descriptor(planes(rgb))
    larger = np.asarray(Image.fromarray(rgb).resize((640, 900), Image.Resampling.BICUBIC))
    paler = (rgb * 0.7 + 60).astype(np.uint8)
    grey = np.asarray(Image.fromarray(rgb).convert("L").convert("RGB"))
    for other in (larger, paler, grey):
        assert np.linalg.norm(descriptor(planes(other)) - features) < RADIUS / 2


def test_descriptor_of_a_mirror_image(photographs):
    for rgb in photographs:
        mirrored = descriptor(planes(rgb[:, ::-1]))
        np.testing.assert_allclose(descriptor(planes(rgb)) * MIRRORED, mirrored, atol=2e-3)


@pytest.mark.parametrize("noise", [0, 1])
def test_descriptor_without_contrast_is_nan(noise):
    flat = np.random.default_rng(0).integers(128, 129 + noise, (64, 64, 3), dtype=np.uint8)
    assert np.isnan(descriptor(planes(flat))).all()


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


def test_colored_photographs_are_recognized_without_conversion(photographs):
    for rgb in photographs:
        features = measured(rgb)
        assert features >= NEAR_GREY
        assert math.isinf(features) or features == pytest.approx(percentile(rgb), abs=0.02)
    assert any(math.isinf(measured(rgb)) for rgb in photographs)


def test_no_color_above_the_spread_is_near_grey():
    steps = np.arange(0, 256, 5)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3).astype(np.uint8)
    chroma = np.linalg.norm(rgb2lab(colors[None])[0, :, 1:], axis=-1)
    # Images of one color; infinity would mean that the color counts as clearly colored.
    dullest = colors[np.argsort(chroma)[: np.searchsorted(np.sort(chroma), NEAR_GREY)]]
    assert len(dullest) > 50
    spread = np.ptp(dullest.astype(int), axis=1)
    for color in dullest[np.argsort(spread)[-20:]]:
        assert measured(np.broadcast_to(color, (4, 30, 3)).copy()) < NEAR_GREY
