import math

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from lightning_colorize.data.audit.grey import NEAR_GREY, grey_chroma


def of_chroma(chroma, height=60, width=80):
    """An image of all lightnesses, whose colours have one chroma and all hues."""
    hue = np.linspace(0, 2 * np.pi, width)
    lab = np.zeros((height, width, 3))
    lab[..., 0] = np.linspace(35, 75, height)[:, None]
    lab[..., 1], lab[..., 2] = chroma * np.cos(hue), chroma * np.sin(hue)
    return (lab2rgb(lab) * 255).round().astype(np.uint8)


def percentile(rgb):
    return np.percentile(np.linalg.norm(rgb2lab(rgb)[..., 1:], axis=-1), 95)


def measured(rgb):
    return grey_chroma(torch.from_numpy(rgb).permute(2, 0, 1))


@pytest.mark.parametrize("chroma", [0, 2, 4.5, 5.5, 8])
def test_chroma_is_scikit_images(chroma):
    rgb = of_chroma(chroma)
    assert measured(rgb) == pytest.approx(percentile(rgb), abs=0.02)
    assert (measured(rgb) < NEAR_GREY) == (chroma < 5)


@pytest.mark.parametrize(("share", "grey"), [(0.03, True), (0.048, True), (0.06, False)])
def test_a_grey_image_may_have_a_little_colour(photographs, share, grey):
    rgb = np.repeat(photographs[0][..., :1], 3, axis=-1)
    rgb.reshape(-1, 3)[: round(share * 128 * 128)] = (200, 40, 40)
    assert (measured(rgb) < NEAR_GREY) == grey == (percentile(rgb) < 5)


def test_photographs_in_colour_are_told_without_converting_them(photographs):
    for rgb in photographs:
        seen = measured(rgb)
        assert seen >= NEAR_GREY
        assert math.isinf(seen) or seen == pytest.approx(percentile(rgb), abs=0.02)
    assert any(math.isinf(measured(rgb)) for rgb in photographs)


def test_no_colour_that_counts_as_lively_is_near_grey():
    steps = np.arange(0, 256, 5)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3).astype(np.uint8)
    chroma = np.linalg.norm(rgb2lab(colors[None])[0, :, 1:], axis=-1)
    # An image of one colour: what is infinite for it is taken for lively.
    dullest = colors[np.argsort(chroma)[: np.searchsorted(np.sort(chroma), NEAR_GREY)]]
    assert len(dullest) > 50
    spread = np.ptp(dullest.astype(int), axis=1)
    for color in dullest[np.argsort(spread)[-20:]]:
        assert measured(np.broadcast_to(color, (4, 30, 3)).copy()) < NEAR_GREY
