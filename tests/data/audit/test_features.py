import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from lightning_colorize.data.audit.features import NEAR_GREY, SIDE, grey_chroma, thumbnail


def planes(rgb):
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def grey_of(rgb):
    return torch.from_numpy(np.array(Image.fromarray(rgb).convert("L")))[None]


def test_thumbnail_is_invariant_to_tone(photographs):
    rgb = photographs[2]
    expected = thumbnail(grey_of(rgb))
    assert expected.shape == (SIDE, SIDE)
    paler = (rgb * 0.7 + 60).astype(np.uint8)
    darker = (255 * (rgb / 255) ** 1.7).round().astype(np.uint8)
    clipped = (rgb * 1.25).clip(0, 255).astype(np.uint8)
    for other in (paler, darker, clipped):
        found = thumbnail(grey_of(other))
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
        assert abs(found.mean() - expected.mean()) < 10


@pytest.mark.parametrize("noise", [0, 1])
def test_thumbnail_without_contrast_is_zero(noise):
    flat = np.random.default_rng(0).integers(128, 129 + noise, (1, 64, 64), dtype=np.uint8)
    assert not thumbnail(torch.from_numpy(flat)).any()


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
