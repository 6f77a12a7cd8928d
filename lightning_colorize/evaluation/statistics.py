"""Means over images, and confidence intervals of their differences."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from lightning_colorize.metrics.functional import over_images
from lightning_colorize.metrics.spec import COLUMNS, CONFIDENCE, METRICS, NAMES, TAILS

RESAMPLES = 5000
_FEWER = 2000  # for many rows

POWER = 0.8
"""The usual target power of a test."""


@dataclass(frozen=True)
class Difference:
    """The difference of a row from the first one in a metric."""

    value: float  # The metric minus the first row's.
    # Bounds of the interval; None for fewer than two images, or if the value is not finite.
    low: float | None = None
    high: float | None = None
    # If the interval includes 0: the number of images at which a difference of this value is
    # clear with a power of 80 %. None for a value of 0.
    images_needed: int | None = None

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def metrics_over(values: np.ndarray) -> np.ndarray:
    """Return all metrics over images, for many samples of the images.

    Maps (rows, columns of `measure`, samples..., images) to (rows, metrics, samples...). More
    columns are per-image metrics.
    """
    columns = torch.from_numpy(values).movedim(1, 0)
    metrics = [over_images(metric, columns) for metric in METRICS]
    return torch.stack([*metrics, *columns[len(COLUMNS) :].mean(-1)], dim=1).numpy()


def differences_from_first(
    values: np.ndarray, seed: int, systems: int | None = None
) -> list[list[Difference]]:
    """Return every row's difference from the first one, in every metric.

    Intervals are from the paired percentile bootstrap: images are drawn with replacement, the same
    for all rows, so that the difficulty of an image cancels out. For each metric, the intervals of
    the systems hold simultaneously: all have the same level, chosen so that 95 % of the draws lie
    in all intervals (Beran, "Balanced simultaneous confidence sets", 1988). With two systems this
    is the usual interval.

    `values` is (rows, columns of `measure`, images). The first rows are `systems`, by default all;
    the rows of baselines follow, and each of their intervals holds on its own.
    """
    with np.errstate(invalid="ignore"):
        metrics = metrics_over(values)
        estimate = metrics - metrics[:1]
    # A system that diverged must not spoil the intervals of the others.
    values = np.where(np.isfinite(values), values, 0.0)
    count = values.shape[-1]
    if count < 2:
        return [[Difference(float(value)) for value in row] for row in estimate]
    draws = _draws(values, RESAMPLES, seed)
    draws -= draws[:1].copy()
    alpha = np.full(estimate.shape, 1 - CONFIDENCE)
    for column, known in enumerate(np.isfinite(estimate[:systems]).T):
        members = 1 + np.flatnonzero(known[1:])
        if len(members):
            alpha[members, column] = joint_alpha(draws[members, column])
    return [
        [_difference(*cell, count) for cell in zip(*row, strict=True)]
        for row in zip(estimate, draws, alpha, strict=True)
    ]


def joint_alpha(draws: np.ndarray) -> float:
    """Return the level of each of several intervals, so that all of them hold simultaneously.

    The central 1 - alpha of each row's draws is its interval; 95 % of the draws lie in the
    intervals of all rows. Alpha is 5 % for one row, and at least 5 % / rows (Bonferroni). `draws`
    is (rows, draws); a draw is the same resample for all rows.
    """
    below, above = (stats.rankdata(sign * draws, "max", axis=-1) for sign in (1, -1))
    # How far out a draw lies: the share of all draws in the two tails that begin at it.
    tails = 2 * np.minimum(below, above) / draws.shape[-1]
    return float(min(np.quantile(tails.min(axis=0), 1 - CONFIDENCE), 1 - CONFIDENCE))


def _difference(value: float, draws: np.ndarray, alpha: float, images: int) -> Difference:
    if not np.isfinite(value):
        return Difference(float("nan"))
    low, high = map(float, np.quantile(draws, (alpha / 2, 1 - alpha / 2)))
    needed = None
    if value and low <= 0 <= high:
        # Two-sided, by the normal approximation; detections with the wrong sign do not count.
        quantiles = stats.norm.ppf(POWER) - stats.norm.ppf(alpha / 2)
        needed = math.ceil(images * (quantiles * draws.std() / value) ** 2)
    return Difference(float(value), low, high, needed)


def _draws(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return all metrics over images drawn with replacement: (rows, metrics, resamples)."""
    count = values.shape[-1]
    rng = np.random.default_rng(seed)
    # About 64 MB at a time.
    chunk = max(1, 8_000_000 // values.size)
    parts = [
        metrics_over(values[..., rng.integers(count, size=(min(chunk, resamples - i), count))])
        for i in range(0, resamples, chunk)
    ]
    return np.concatenate(parts, axis=-1)


def intervals(
    values: np.ndarray, names: Sequence[str] = NAMES
) -> list[dict[str, dict[str, float]]]:
    """Return each row's metrics with the bounds of their intervals: `value`, `low` and `high`.

    Intervals are from the percentile bootstrap over images, the same draws for all rows. `values`
    is (rows, columns of `measure`, images); with more columns, `names` lists all metrics.
    """
    low, high = np.quantile(_draws(values, _FEWER, seed=0), TAILS, axis=-1)
    return [
        {name: as_interval(ends) for name, ends in zip(names, row.T, strict=True)}
        for row in np.stack([metrics_over(values), low, high], axis=1)
    ]


def as_interval(ends: np.ndarray) -> dict[str, float]:
    """Return a value, its lower and its upper bound, (3,), by name."""
    return dict(zip(("value", "low", "high"), ends.tolist(), strict=True))


def mean_intervals(values: np.ndarray) -> list[dict[str, float]]:
    """Return the mean of each row of (rows, images) with its interval, as `intervals` does."""
    return [*map(as_interval, ratio_intervals(values, np.ones(values.shape[-1])).T)]


def ratio_intervals(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weighted means over images, such as means over all pixels, with their intervals.

    Maps the sum of each image, (..., images), and the number of values in it, which broadcasts, to
    (3, ...): value, lower and upper bound; nan without weight. Draws without weight do not count.
    """
    weights = np.broadcast_to(weights, sums.shape)
    count = sums.shape[-1]
    rng = np.random.default_rng(0)
    chunk = max(1, 8_000_000 // count)
    drawn = []
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nanquantile, without any weight
        for i in range(0, _FEWER, chunk):
            # Count how often each image is drawn, so that all rows are one product.
            size = min(chunk, _FEWER - i)
            times = rng.multinomial(count, np.full(count, 1 / count), size=size).T
            drawn.append((sums @ times) / (weights @ times))
        value = sums.sum(-1) / weights.sum(-1)
        ends = np.nanquantile(np.concatenate(drawn, axis=-1), TAILS, axis=-1)
    return np.stack([value, *ends])
