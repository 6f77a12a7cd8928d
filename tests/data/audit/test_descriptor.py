from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.data.audit.descriptor import LENGTH, MIRRORED, descriptor
from lightning_colorize.data.audit.near import RADIUS
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


def test_frequencies_are_those_of_the_cosine_transform():
    x = (np.arange(32) + 0.5) / 32
    wave = np.outer(np.cos(3 * np.pi * x), np.cos(2 * np.pi * x))
    grey = (128 + 100 * wave).round().astype(np.uint8)
    seen = descriptor(planes(np.repeat(grey[..., None], 3, axis=-1)))
    assert seen.shape == (LENGTH,) == (35,)
    # Row by row, without the zeroth: 7 frequencies, then 7, 6, and of the fourth row the third.
    expected = np.zeros(35)
    expected[7 + 7 + 6 + 2] = 1
    np.testing.assert_allclose(seen, expected, atol=0.01)


def test_half_size_copies_are_near_and_others_far(photographs):
    seen = np.stack([descriptor(planes(rgb)) for rgb in photographs])
    copies = np.stack([descriptor(halved(rgb)) for rgb in photographs])
    apart = np.linalg.norm(seen[:, None] - copies[None], axis=-1)
    assert np.diagonal(apart).max() < RADIUS  # the largest is that of a night sky
    assert np.median(np.diagonal(apart)) < RADIUS / 5
    assert apart[~np.eye(len(seen), dtype=bool)].min() > 3 * RADIUS


def test_size_brightness_contrast_and_colours_do_not_matter(photographs):
    rgb = photographs[2]
    seen = descriptor(planes(rgb))
    larger = np.asarray(Image.fromarray(rgb).resize((640, 900), Image.Resampling.BICUBIC))
    paler = (rgb * 0.7 + 60).astype(np.uint8)
    grey = np.asarray(Image.fromarray(rgb).convert("L").convert("RGB"))
    for other in (larger, paler, grey):
        assert np.linalg.norm(descriptor(planes(other)) - seen) < RADIUS / 2


def test_a_mirror_image_has_a_known_descriptor(photographs):
    for rgb in photographs:
        mirrored = descriptor(planes(rgb[:, ::-1]))
        np.testing.assert_allclose(descriptor(planes(rgb)) * MIRRORED, mirrored, atol=2e-3)


@pytest.mark.parametrize("noise", [0, 1])
def test_without_contrast_there_is_nothing_to_compare(noise):
    flat = np.random.default_rng(0).integers(128, 129 + noise, (64, 64, 3), dtype=np.uint8)
    assert np.isnan(descriptor(planes(flat))).all()
