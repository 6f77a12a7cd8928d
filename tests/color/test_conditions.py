"""Hints, how their colors spread, and palettes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lightning_colorize.color import Condition
from lightning_colorize.color.hints import (
    HintPoints,
    diffused,
    hint_channels,
    hints_from,
    optimized,
)
from lightning_colorize.color.palette import palettes_from, simulated_palettes


def points(*rows):
    """Return hints of (image, row, column, side)."""
    image, row, column, side = zip(*rows, strict=True)
    centers = torch.tensor([row, column], dtype=torch.float32).T
    return HintPoints(torch.tensor(image), centers, torch.tensor(side))


def test_a_hint_reveals_the_mean_color_of_its_patch():
    ab = torch.arange(2 * 2 * 8 * 8, dtype=torch.float32).view(2, 2, 8, 8)
    hints = hints_from(ab, points((0, 0.5, 0.25, 2), (1, 0.0, 1.0, 3)))
    # Two pixels around row 4, column 2; three at the upper right corner, shifted inside.
    expected = torch.zeros(2, 3, 8, 8)
    for image, rows, columns in ((0, slice(3, 5), slice(1, 3)), (1, slice(0, 3), slice(5, 8))):
        expected[image, :2, rows, columns] = ab[image, :, rows, columns].mean((1, 2))[:, None, None]
        expected[image, 2, rows, columns] = 1
    torch.testing.assert_close(hints, expected)


def test_overlapping_hints_are_averaged_and_large_ones_fit_small_images():
    ab = torch.tensor([[[[0.0, 10.0], [0.0, 10.0]], [[4.0, 4.0], [4.0, 4.0]]]])
    hints = hints_from(ab, points((0, 0.2, 0.2, 1), (0, 0.5, 0.5, 9)))
    assert hints[0, 0].tolist() == [[2.5, 5.0], [5.0, 5.0]]
    assert hints[0, 2].tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_more_uniform_points_add_to_the_same_ones():
    few, many = (HintPoints.uniform(count, 3, 5, seed=7) for count in (2, 10))
    for image in range(3):
        torch.testing.assert_close(
            few.center[few.image == image], many.center[many.image == image][:2]
        )
    assert not torch.equal(many.center, HintPoints.uniform(10, 3, 5, seed=8).center)


def test_colors_spread_within_a_lightness():
    # A dark left half and a light right half, each with one hint; a third of each is far away.
    L = torch.full((1, 1, 64, 64), 20.0)
    L[..., 32:] = 80
    hints = torch.zeros(1, 3, 64, 64)
    for column, a in ((8, -40.0), (56, 60.0)):
        hints[0, :, 30:34, column : column + 4] = torch.tensor([a, 10, 1]).view(3, 1, 1)
    spread = diffused(hints, L)
    assert spread[0, 0, :, :28].max() < -30
    assert spread[0, 0, :, 36:].min() > 45
    torch.testing.assert_close(spread[0, 1], torch.full((64, 64), 10.0), atol=0.5, rtol=0)
    assert spread[0, 2, 32, 10] > 0.8
    assert 0 < spread[0, 2, 0, 31] < 0.3
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(diffused(hints, L), spread)


def _bilinear(maps, shape):
    maps = torch.from_numpy(maps)[None]
    return F.interpolate(maps, tuple(shape), mode="bilinear", align_corners=False)[0].numpy()


def _reference(hints, L):
    """Diffuse cell by cell, as `diffused` describes it."""
    height, width = (-(-side // 4) for side in L.shape)
    grid = np.zeros((3, 8, height, width))
    bins = np.zeros((8, height, width))
    for y, x in np.ndindex(height, width):
        cell = (slice(4 * y, 4 * y + 4), slice(4 * x, 4 * x + 4))
        bins[:, y, x] = np.clip(1 - abs(L[cell].mean() / 100 * 7 - np.arange(8)), 0, None)
        color = [(hints[i][cell] * hints[2][cell]).mean() for i in (0, 1)]
        grid[:, :, y, x] = np.outer([*color, hints[2][cell].mean()], bins[:, y, x])
    levels = [grid]
    for side in (32, 16, 8, 4, 2, 1):
        coarse = np.zeros((3, 8, side, side))
        for y, x in np.ndindex(height, width):
            coarse[:, :, y * side // height, x * side // width] += grid[:, :, y, x]
        levels.append(coarse)
    result = None
    for level in [levels[-1].sum(1, keepdims=True).repeat(8, 1), *reversed(levels)]:
        found = np.clip(level[2] * 1e4, 0, 1)
        mean = level[:2] / np.maximum(level[2], 1e-12)
        if result is None:
            result = np.stack([*mean, found])
            continue
        result = _bilinear(result.reshape(24, *result.shape[2:]), level.shape[2:])
        result = result.reshape(3, *level.shape[1:])
        weights = found, (1 - found)
        result = np.stack(
            [
                weights[0] * own + weights[1] * other
                for own, other in zip((*mean, 1), (*result[:2], result[2] / 2), strict=True)
            ]
        )
    return _bilinear((result * bins).sum(1), L.shape)


@pytest.mark.parametrize("size", [(30, 43), (150, 18)])
def test_diffusion_equals_its_reference(size):
    generator = torch.Generator().manual_seed(3)
    L = 100 * torch.rand(2, 1, *size, generator=generator)
    L[1] = 30 + L[1] / 5
    ab = 30 * torch.randn(2, 2, *size, generator=generator)
    hints = hints_from(ab, HintPoints.uniform(3, 2, 3, seed=1))
    expected = [_reference(h, each) for h, (each,) in zip(hints.numpy(), L.numpy(), strict=True)]
    np.testing.assert_allclose(diffused(hints, L).numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (37, 64)])
def test_nothing_spreads_without_hints(size):
    spread = diffused(torch.zeros(2, 3, *size), torch.rand(2, 1, *size) * 100)
    assert spread.shape == (2, 3, *size)
    assert not spread.any()


def test_the_colors_of_two_regions_stay_in_them_and_one_color_fills_the_image():
    L = torch.full((1, 1, 12, 12), 30.0)
    L[..., 6:] = 70
    hints = torch.zeros(1, 3, 12, 12)
    hints[0, :, 3, 2] = torch.tensor([40.0, 10, 1])
    assert optimized(hints, L)[0].flatten(1).std(1).max() < 1e-3
    hints[0, :, 8, 9] = torch.tensor([-30.0, 20, 1])
    colors = optimized(hints, L)[0]
    assert colors[:, 3, 2].tolist() == pytest.approx([40, 10])
    assert colors[:, 8, 9].tolist() == pytest.approx([-30, 20])
    assert colors[0, :, :6].min() > 35
    assert colors[0, :, 6:].max() < -25


def test_a_network_gets_hints_with_a_spread_of_about_one():
    hints, L = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    hints[..., 8:, :] = torch.tensor([50.0, -20.0, 1.0]).view(3, 1, 1)
    channels = hint_channels(hints, L.bfloat16())
    expected = torch.tensor([2.5, -1.0, 1.0] * 2)
    torch.testing.assert_close(channels[0, :, 12, 8].float(), expected, atol=0.1, rtol=0)
    assert channels.dtype == torch.bfloat16
    L = torch.linspace(-1, 1, 256).view(1, 1, 16, 16)
    hints[0, 0, 8:] = torch.linspace(-50, 50, 16)
    color = diffused(hints, (L + 1) * 50) / torch.tensor([20, 20, 1]).view(3, 1, 1)
    torch.testing.assert_close(hint_channels(hints, L)[:, 3:], color)
    assert not channels[0, :3, :8].any()


def test_palette_of_known_colors():
    ab = torch.zeros(1, 2, 32, 32)
    ab[0, 0, :8] = 60.0  # a quarter
    ab[0, 1, 8:] = -30.0
    starts = torch.tensor([[0.0, 0.9, 0.5, 0.5, 0.5]])
    (palette,) = palettes_from(ab, torch.tensor([2]), starts)
    assert palette.tolist() == [[60.0, 0.0, 0.25], [0.0, -30.0, 0.75], *[[0.0] * 3] * 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_palettes_keep_full_precision(dtype):
    torch.manual_seed(0)
    ab = (torch.rand(2, 2, 64, 64) * 200 - 100).to(dtype)  # their sums exceed fp16
    arguments = (torch.tensor([5, 1]), torch.rand(2, 5))
    expected = palettes_from(ab.float(), *arguments)
    with torch.autocast("cpu", dtype):
        for given in (ab, ab.float()):
            assert torch.equal(palettes_from(given, *arguments), expected)


def test_simulated_palettes_describe_their_image():
    torch.manual_seed(0)
    ab = torch.randn(300, 2, 1, 1).expand(-1, -1, 16, 16) * 40 + torch.randn(300, 2, 16, 16)
    palettes = simulated_palettes(ab)
    shares = palettes[..., 2]
    torch.testing.assert_close(shares.sum(1), torch.ones(300))
    mean = (palettes[..., :2] * shares[..., None]).sum(1)
    assert (mean - ab.mean((2, 3))).abs().max() < 2
    numbers = (shares > 0).sum(1)
    assert (torch.bincount(numbers)[1:] / 300).tolist() == pytest.approx([0.2] * 5, abs=0.06)
    several = numbers > 1
    equal = ((shares - 1 / numbers[:, None]).abs() < 1e-6).sum(1) == numbers
    assert equal[several].float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_conditions_are_chosen_mirrored_and_joined():
    hints = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    both = Condition(torch.tensor([3, -1]), ["a", ""], hints, torch.rand(2, 5, 3))
    second = both.chosen([1])
    assert second.labels.tolist() == [-1]
    assert second.texts == [""]
    assert torch.equal(second.hints, hints[1:])
    joined = both.chosen([0]).joined(second)
    for own, other in zip(joined, both, strict=True):
        assert own == other if isinstance(own, list) else torch.equal(own, other)
    assert torch.equal(both.mirrored().hints, hints.flip(-1))
    assert Condition().joined(Condition()) == Condition() == Condition().mirrored()
