import numpy as np
import pytest
import torch

from lightning_colorize.color import ColorBatch
from lightning_colorize.metrics import Baselines

LEVEL = 100 / 12


def fitted(*batches):
    baselines = Baselines()
    for L, ab in batches:
        baselines.update(ColorBatch(L=L, ab=ab, names=["x"] * len(L)))
    baselines.finish()
    return baselines


def random_batch(count, height=16, width=6, seed=0, spread=15.0):
    generator = torch.Generator().manual_seed(seed)
    L = torch.rand(count, 1, height, width, generator=generator) * 100
    ab = torch.randn(count, 2, height, width, generator=generator) * spread
    # Skewed, so that median and mean differ, and different in a and b.
    return L, ab.abs() * torch.tensor([1.0, -2.0]).view(1, 2, 1, 1) + L.expand(-1, 2, -1, -1) / 10


def lut_by_hand(L, ab):
    """Lower medians per lightness and row by numpy: (2, 12, 8), NaN where there are none."""
    height = L.shape[-2]
    rows = np.broadcast_to(np.arange(height)[:, None], L.shape[1:][-2:]) * 8 // height
    lut = np.full((2, 12, 8), np.nan)
    for level in range(12):
        for band in range(8):
            edge = 100.1 if level == 11 else (level + 1) * LEVEL
            inside = (L[:, 0] >= level * LEVEL) & (L[:, 0] < edge) & (rows == band)
            if inside.any():
                lut[:, level, band] = [
                    np.percentile(ab[:, channel][inside], 50, method="inverted_cdf")
                    for channel in (0, 1)
                ]
    return lut


def test_three_pixels_by_hand():
    # One image of eight rows; in its first row three pixels of the same lightness.
    L = torch.full((1, 1, 8, 3), 50.0)
    ab = torch.zeros(1, 2, 8, 3)
    ab[0, 0, 0] = torch.tensor([1.0, 2.0, 60.0])
    ab[0, 1, 0] = torch.tensor([-40.0, -3.0, 0.0])
    baselines = fitted((L, ab))
    assert baselines.mean_ab.tolist() == pytest.approx([63 / 24, -43 / 24])
    assert baselines.predict("lut", L)[0, :, 0, 0].tolist() == [2.0, -3.0]
    assert baselines.predict("lut", L)[0, :, 1].eq(0).all()
    assert baselines.predict("mean", L)[0, :, 3, 1].tolist() == pytest.approx([63 / 24, -43 / 24])
    assert baselines.predict("grey", L).eq(0).all()
    assert baselines.pixels == 24


@pytest.mark.parametrize("height", [8, 16, 19])
def test_medians_against_numpy(height):
    batches = [random_batch(40, height=height, seed=seed) for seed in range(3)]
    L, ab = (torch.cat(tensors) for tensors in zip(*batches, strict=True))  # copies
    expected = lut_by_hand(L.numpy(), ab.numpy())
    assert np.isfinite(expected).all()
    baselines = fitted(*batches)
    # Half a bin of half a unit.
    np.testing.assert_allclose(baselines.lut_ab, expected, atol=0.25 + 1e-4)
    np.testing.assert_allclose(baselines.mean_ab, ab.mean((0, 2, 3)), atol=1e-3)


def test_black_and_white_are_levels_too():
    L = torch.tensor([0.0, 100.0]).expand(1, 1, 8, 2)
    ab = torch.tensor([5.0, -5.0]).expand(1, 2, 8, 2)
    baselines = fitted((L, ab))
    # Lightness computed from white may exceed 100 by rounding.
    predicted = baselines.predict("lut", torch.tensor([0.0, 100.001]).expand(1, 1, 8, 2))
    assert torch.equal(predicted, ab)


def test_empty_cells_take_the_nearest_lightness_of_their_row():
    # Levels 2 and 8 only; 4 is nearer to 2, 6 to 8, and 5 is as near: the darker wins.
    L = torch.tensor([2.5 * LEVEL, 8.5 * LEVEL]).expand(1, 1, 8, 2)
    ab = torch.tensor([10.0, 40.0]).expand(1, 2, 8, 2).clone()
    ab[:, :, 4:] += 3
    baselines = fitted((L, ab))
    levels = torch.tensor([0, 4, 5, 6, 11]) * LEVEL + 1
    predicted = baselines.predict("lut", levels.expand(1, 1, 8, 5))
    assert predicted[0, 0, 0].tolist() == [10, 10, 10, 40, 40]
    assert predicted[0, 1, 7].tolist() == [13, 13, 13, 43, 43]


def test_rows_without_any_pixel_take_the_mean():
    # Four rows fill every second of the eight bands.
    L = torch.full((1, 1, 4, 1), 50.0)
    ab = torch.tensor([0.0, 8.0, 8.0, 8.0]).view(1, 1, 4, 1).expand(1, 2, 4, 1)
    predicted = fitted((L, ab)).predict("lut", torch.full((1, 1, 8, 1), 50.0))
    assert predicted[0, 0, :, 0].tolist() == [0, 6, 8, 6, 8, 6, 8, 6]


def test_grey_photographs_give_exactly_grey():
    L, _ = random_batch(4)
    noise = torch.randn(4, 2, 16, 6, generator=torch.Generator().manual_seed(3)) * 0.01
    assert fitted((L, noise)).predict("lut", L).eq(0).all()


def test_wrong_use_is_named():
    L = torch.zeros(1, 1, 4, 4)
    with pytest.raises(RuntimeError, match="not fitted"):
        Baselines().predict("lut", L)
    with pytest.raises(RuntimeError, match="training set"):
        Baselines().finish()
    with pytest.raises(ValueError, match="grey, mean, lut"):
        fitted(random_batch(1)).predict("gray", L)
