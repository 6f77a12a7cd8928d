import warnings

import numpy as np
import pytest
from scipy.stats import norm

from lightning_colorize.evaluation.statistics import (
    differences_from_first,
    intervals,
    metrics_over,
)
from lightning_colorize.metrics.spec import COLUMNS, NAMES


def _values(rows=2, images=40, seed=0):
    random = np.random.default_rng(seed)
    values = random.normal(20, 5, size=(rows, len(COLUMNS), images))
    # The truth is the same for all rows.
    for name in ("true_colorfulness", "true_mean_a", "true_mean_b"):
        values[:, COLUMNS.index(name)] = values[0, COLUMNS.index(name)]
    return values


def test_the_bootstrap_is_paired():
    # Images differ by 5 dB among each other, systems by exactly 1 on each of them.
    values = _values()
    values[1] = values[0]
    values[1, COLUMNS.index("psnr")] += 1
    psnr = differences_from_first(values, seed=0)[1][NAMES.index("psnr")]
    assert (psnr.value, psnr.low, psnr.high) == pytest.approx((1, 1, 1))
    assert psnr.clear


def test_intervals_of_a_mean_are_those_of_the_normal_distribution():
    values = _values(rows=2, images=400)
    for row, psnr in zip(intervals(values), values[:, COLUMNS.index("psnr")], strict=True):
        half = 1.96 * psnr.std() / len(psnr) ** 0.5
        found = row["psnr"]
        assert found["value"] == pytest.approx(psnr.mean())
        expected = (psnr.mean() - half, psnr.mean() + half)
        assert (found["low"], found["high"]) == pytest.approx(expected, abs=0.1 * half)


def test_intervals_of_ratio_and_correlation_match_plain_resampling():
    values = _values(images=60, seed=5)
    random = np.random.default_rng(9)
    ratio, corr = [], []
    for _ in range(1500):
        sample = values[:, :, random.integers(0, 60, size=60)]
        field = {name: sample[:, i] for i, name in enumerate(COLUMNS)}
        ratio.append(np.diff(field["colorfulness"].mean(-1) / field["true_colorfulness"][0].mean()))
        r = [
            [np.corrcoef(field[f"mean_{c}"][i], field[f"true_mean_{c}"][i])[0, 1] for c in "ab"]
            for i in (0, 1)
        ]
        corr.append(np.diff(np.min(r, axis=1)))
    ours = differences_from_first(values, seed=0)[1]
    for metric, draws in (("colorfulness_ratio", ratio), ("ab_corr", corr)):
        low, high = np.percentile(draws, (2.5, 97.5))
        interval = ours[NAMES.index(metric)]
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.12 * (high - low))


def test_intervals_that_hold_together():
    values = _values(rows=11, images=60)
    values[:, COLUMNS.index("true_colorfulness")] = 20
    pair = differences_from_first(values[:2], seed=0)[1]
    with_baselines = differences_from_first(values, seed=0, systems=2)
    assert with_baselines[1] == pair
    every = differences_from_first(values, seed=0)[1]
    bonferroni = norm.isf(0.025 / 10) / norm.isf(0.025)
    for metric, one, of_ten in zip(NAMES, pair, every, strict=True):
        assert of_ten.value == one.value
        # 10 correlated differences: more than one alone, less than 10 independent ones.
        ratio = (of_ten.high - of_ten.low) / (one.high - one.low)
        assert 1.2 < ratio < 1.05 * bonferroni, metric
    # Wider intervals need more images.
    needed = [(a.images_needed, b.images_needed) for a, b in zip(pair, every, strict=True)]
    assert any(alone for alone, _ in needed)
    assert all(together > alone for alone, together in needed if alone)


def test_as_many_images_as_needed_see_a_difference_four_times_of_five():
    random = np.random.default_rng(3)
    psnr = COLUMNS.index("psnr")
    values = _values(rows=1, images=100).repeat(2, axis=0)
    noise = random.normal(0, 1, size=100)
    values[1, psnr] += 0.15 + (noise - noise.mean()) / noise.std()
    difference = differences_from_first(values, seed=0)[1][NAMES.index("psnr")]
    assert not difference.clear
    # (1.96 + 0.84)**2 * spread**2 / difference**2
    assert difference.images_needed == pytest.approx(7.849 / 0.15**2, rel=0.06)
    means = random.normal(0.15, difference.images_needed**-0.5, size=4000)
    seen = abs(means) > 1.96 * difference.images_needed**-0.5
    assert seen.mean() == pytest.approx(0.8, abs=0.04)
    values[1, psnr] += 0.3
    assert differences_from_first(values, seed=0)[1][NAMES.index("psnr")].images_needed is None


def test_a_nan_row_has_no_verdict_and_does_not_affect_others():
    values = _values(rows=3)
    _, expected = differences_from_first(values[[0, 2]], seed=0)
    first, _, third = metrics_over(values)
    assert [each.value for each in expected] == pytest.approx(list(third - first))
    values[1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        differences = differences_from_first(values, seed=0)
    assert differences[2] == expected
    for difference in differences[1][:5]:
        assert np.isnan(difference.value)
        assert (difference.low, difference.high) == (None, None)
        assert not difference.clear
    of_one_image = differences_from_first(_values(images=1), seed=0)[1][0]
    assert (of_one_image.low, of_one_image.high) == (None, None)
