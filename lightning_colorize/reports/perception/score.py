"""Rates and strengths from answers, with intervals for correlated answers.

How often a system fooled people, how often it was preferred, and its strength in the Bradley-Terry
model of pairwise preferences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit
from scipy.stats import binomtest, norm

from lightning_colorize.metrics.spec import CONFIDENCE, TAILS
from lightning_colorize.reports.perception.answers import Answers, Rated

QUESTIONS: Mapping[str, str] = {"real": "fooling", "better": "preference"}
"""The rate that each question of the page gives."""

PRIOR = 0.5
"""Wins, and losses, of each system against an opponent of strength 0 that every fit adds."""

_RESAMPLES = 2000
_STEPS = 200
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Rate:
    """A share of the trials in which a system was shown, with a 95 % interval."""

    chosen: int
    trials: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share."""
        return self.chosen / self.trials


Rates = dict[str, dict[str, Rate]]
"""Rates by question and system; a system without trials is missing."""


def rates(rated: Sequence[Rated], systems: Sequence[str], seed: int | None = None) -> Rates:
    """Return the rates of each system.

    `real`: share of trials in which the system's image was taken for the photograph; 0.5 if people
    cannot tell them apart. `better`: share of trials in which it was chosen over another system's.

    Intervals are Wilson's, which treat answers as independent. With a seed they are percentiles of
    the bootstrap over raters and images, and at least as wide as Wilson's: the bootstrap has no
    width where all answers are the same.
    """
    found: Rates = {question: {} for question in QUESTIONS}
    for question, of_system in found.items():
        asked = [(rater, trial) for rater, trial in rated if trial.question == question]
        for system in systems:
            seen = [(rater, t) for rater, t in asked if system in (t.left, t.right)]
            if seen:
                of_system[system] = _rate(seen, system, seed)
    return found


def rates_by(
    answers: Answers, by: Literal["rater", "image", "category"], seed: int | None = None
) -> dict[str, Rates]:
    """Return the rates of each rater, image or category, by name."""
    groups: dict[str, list[Rated]] = {}
    for rater, trial in answers.rated:
        name = rater if by == "rater" else getattr(trial, by)
        groups.setdefault(name, []).append((rater, trial))
    return {name: rates(groups[name], answers.systems, seed) for name in sorted(groups)}


def _rate(seen: Sequence[Rated], system: str, seed: int | None) -> Rate:
    values = np.array([(trial.chosen == system, 1) for _, trial in seen], dtype=float)
    chosen = int(values[:, 0].sum())
    wilson = binomtest(chosen, len(seen)).proportion_ci(CONFIDENCE, method="wilson")
    low, high = float(wilson.low), float(wilson.high)
    if seed is not None:
        sums = resampled_sums(seen, values, seed)
        # A sample may draw no rater with one of that rater's images: it has no rate.
        sums = sums[sums[:, 1] > 0]
        ends = np.quantile(sums[:, 0] / sums[:, 1], TAILS)
        low, high = min(low, float(ends[0])), max(high, float(ends[1]))
    return Rate(chosen, len(seen), low, high)


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
    ends = np.stack([values, low, high], axis=1).tolist()
    return {name: Strength(*each) for name, each in zip(names, ends, strict=True)}


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
