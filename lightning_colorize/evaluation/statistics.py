"""Means over images, and confidence intervals of their differences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from lightning_colorize.metrics.functional import over_images
from lightning_colorize.metrics.spec import CONFIDENCE, METRICS, NAMES, TAILS

RESAMPLES = 5000
_FEWER = 2000  # of many rows


@dataclass(frozen=True)
class Difference:
    """The difference of a row from the first one in a metric.

    Attributes:
        value: The metric minus the first row's.
        low: Lower end of the interval; None for fewer than two images, and if the value is not
            finite.
        high: Upper end.
    """

    value: float
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def metrics_over(values: np.ndarray) -> np.ndarray:
    """Return all metrics over images, for many samples of the images at once.

    Args:
        values: (rows, columns of `measure`, samples..., images).

    Returns:
        (rows, metrics, samples...).
    """
    columns = torch.from_numpy(values).movedim(1, 0)
    return torch.stack([over_images(metric, columns) for metric in METRICS], dim=1).numpy()


def differences_from_first(values: np.ndarray, seed: int) -> list[list[Difference]]:
    """Return every row's difference from the first one, in every metric.

    Intervals are from the paired percentile bootstrap: images are drawn with replacement, the same
    for all rows, so that the difficulty of an image cancels out.

    Args:
        values: (rows, columns of `measure`, images).
        seed: Seed of the draws.

    Returns:
        For each row, its difference in each metric.
    """
    with np.errstate(invalid="ignore"):
        estimate = _less_first(metrics_over(values))
    # A system that diverged must not spoil the intervals of the others.
    values = np.where(np.isfinite(values), values, 0.0)
    if values.shape[-1] < 2:
        return [[Difference(float(value), None, None) for value in row] for row in estimate]

    def resampled(images: np.ndarray, axis: int) -> np.ndarray:
        return _less_first(metrics_over(values[:, :, images]))

    count = values.shape[-1]
    interval = stats.bootstrap(
        (np.arange(count),),
        resampled,
        n_resamples=RESAMPLES,
        # About 64 MB at a time.
        batch=max(1, 8_000_000 // (values.shape[0] * values.shape[1] * count)),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return [
        [
            Difference(float(value), *map(float, ends))
            if np.isfinite(value)
            else Difference(float("nan"), None, None)
            for value, *ends in zip(*row, strict=True)
        ]
        for row in zip(estimate, interval.low, interval.high, strict=True)
    ]


def intervals(values: np.ndarray, seed: int = 0) -> list[dict[str, dict[str, float]]]:
    """Return each row's metrics with the ends of their intervals: `value`, `low` and `high`.

    Intervals are from the percentile bootstrap over images, the same draws for all rows.

    Args:
        values: (rows, columns of `measure`, images).
        seed: Seed of the draws.
    """
    count = values.shape[-1]
    # About 64 MB at a time.
    chunk = max(1, 8_000_000 // (values.shape[1] * count))
    rows = []
    for row in values:
        estimate = metrics_over(row[None])[0]
        rng = np.random.default_rng(seed)
        drawn = [
            metrics_over(row[None][..., rng.integers(count, size=(min(chunk, _FEWER - i), count))])
            for i in range(0, _FEWER, chunk)
        ]
        low, high = np.quantile(np.concatenate(drawn, axis=-1)[0], TAILS, axis=-1)
        ends = zip(estimate, low, high, strict=True)
        parts = [{"value": float(v), "low": float(a), "high": float(b)} for v, a, b in ends]
        rows.append(dict(zip(NAMES, parts, strict=True)))
    return rows


def mean_intervals(values: np.ndarray, seed: int = 0) -> list[dict[str, float]]:
    """Return each row's mean over images with the ends of its interval, as `intervals` does.

    Args:
        values: (rows, images).
        seed: Seed of the draws.
    """
    count = values.shape[-1]
    rng = np.random.default_rng(seed)
    # How often each image is drawn, so that all rows are one product.
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=_FEWER)
    low, high = np.quantile(values @ drawn.T / count, TAILS, axis=-1)
    return [
        {"value": float(mean), "low": float(a), "high": float(b)}
        for mean, a, b in zip(values.mean(-1), low, high, strict=True)
    ]


def mean_and_spread(rows: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Return mean and standard deviation (n - 1) over runs, of each metric."""
    table = np.asarray(rows)
    return list(zip(table.mean(0).tolist(), table.std(0, ddof=1).tolist(), strict=True))


def _less_first(metrics: np.ndarray) -> np.ndarray:
    difference: np.ndarray = metrics - metrics[:1]
    return difference
