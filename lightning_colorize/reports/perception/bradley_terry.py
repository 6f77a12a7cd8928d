"""The Bradley-Terry model of pairwise preferences, and intervals for correlated answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from lightning_colorize.metrics.spec import TAILS
from lightning_colorize.reports.perception.answers import Rated

PRIOR = 0.5
"""Wins, and losses, of each system against an opponent of strength 0 that every fit adds."""

_RESAMPLES = 2000
_STEPS = 200
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Strength:
    """The strength of a system in log-odds, 0 on average over the systems, with a 95 % interval.

    A system that is stronger by d is preferred with probability 1 / (1 + exp(-d)).
    """

    value: float
    low: float
    high: float


def fit(wins: np.ndarray) -> np.ndarray:
    """Return the strengths that are most probable given wins (Bradley and Terry 1952).

    Each system also has PRIOR wins and losses against an opponent of strength 0. The estimate is
    therefore finite and unique, even if a system always wins or was never compared with another.

    Maps how often the first of two was preferred to the second, (..., systems, systems), to
    log-odds, (..., systems), centered to a mean of 0.
    """
    theta = np.zeros(wins.shape[:-1])
    for _ in range(_STEPS):
        gradient, information = _derivatives(theta, wins)
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        # Full Newton steps overshoot where a system nearly always wins.
        largest = np.abs(step).max(axis=-1, keepdims=True)
        theta = theta + step / np.maximum(largest, 1)
        if largest.max(initial=0) < _TOLERANCE:
            break
    centered: np.ndarray = theta - theta.mean(axis=-1, keepdims=True)
    return centered


def strengths(rated: Sequence[Rated], systems: Sequence[str], seed: int = 0) -> dict[str, Strength]:
    """Return the strength of each system that was compared with another one.

    Intervals are percentiles of the bootstrap over raters and images, and at least as wide as the
    normal approximation for independent answers: the bootstrap has no width where a system always
    wins. Trials of other questions are ignored.
    """
    pairs = [(rater, t) for rater, t in rated if t.question == "better"]
    seen = {side for _, trial in pairs for side in (trial.left, trial.right)}
    names = [name for name in systems if name in seen]
    if not names:
        return {}
    count = len(names)
    cells = np.zeros((len(pairs), count * count))
    for row, (_, trial) in enumerate(pairs):
        other = trial.right if trial.answer == "left" else trial.left
        cells[row, names.index(trial.chosen) * count + names.index(other)] = 1
    wins = cells.sum(axis=0).reshape(count, count)
    values = fit(wins)
    resampled = fit(resampled_sums(pairs, cells, seed).reshape(-1, count, count))
    low, high = np.quantile(resampled, TAILS, axis=0)
    center = np.eye(count) - 1 / count
    covariance = center @ np.linalg.inv(_derivatives(values, wins)[1]) @ center
    error = norm.ppf(TAILS[1]) * np.sqrt(np.diag(covariance))
    low, high = np.minimum(low, values - error), np.maximum(high, values + error)
    return {
        name: Strength(float(values[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(names)
    }


def _derivatives(theta: np.ndarray, wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of the log-posterior, and its negative Hessian."""
    both = wins + wins.swapaxes(-1, -2)
    probability = expit(theta[..., :, None] - theta[..., None, :])
    alone = expit(theta)
    gradient = (wins - both * probability).sum(axis=-1) + PRIOR * (1 - 2 * alone)
    curvature = both * probability * (1 - probability)
    diagonal = curvature.sum(axis=-1) + 2 * PRIOR * alone * (1 - alone)
    information = diagonal[..., None] * np.eye(theta.shape[-1]) - curvature
    return gradient, information


def resampled_sums(rated: Sequence[Rated], values: np.ndarray, seed: int) -> np.ndarray:
    """Return sums over the answers of bootstrap samples.

    Raters and images are drawn with replacement, independently of each other; an answer counts as
    often as its rater times as often as its image (Owen 2007, "The pigeonhole bootstrap"). A single
    rater or image is in every sample once. The order of the answers does not matter.

    Maps the terms of the sums, (answers, quantities), to (samples, quantities).
    """
    rng = np.random.default_rng(seed)
    row, of_rater = _draw([rater for rater, _ in rated], rng)
    column, of_image = _draw([trial.image for _, trial in rated], rng)
    sums = []
    for quantity in values.T:
        cells = np.zeros((of_rater.shape[1], of_image.shape[1]))
        np.add.at(cells, (row, column), quantity)
        sums.append(((of_rater @ cells) * of_image).sum(axis=1))
    return np.stack(sums, axis=1)


def _draw(labels: Sequence[str], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return each answer's index of its label, and how often each label is in each sample."""
    unique, index = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
    count = len(unique)
    return index, rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES).astype(float)
