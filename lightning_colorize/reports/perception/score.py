"""Rates from answers: how often a system fooled people, and how often it was preferred."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from lightning_colorize.metrics.spec import CONFIDENCE, TAILS
from lightning_colorize.reports.perception.answers import Answers, Trial
from lightning_colorize.reports.perception.resampling import resampled_sums

QUESTIONS: Mapping[str, str] = {"real": "fooling", "better": "preference"}
"""The rate that each question of the page gives."""

Rated = tuple[str, Trial]
"""A participant and one of the participant's trials."""


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


def score(answers: Answers, seed: int = 0) -> tuple[Rates, dict[str, Rates]]:
    """Return the rates over all images, and the rates of each category.

    `real`: share of trials in which the system's image was taken for the photograph; 0.5 if people
    cannot tell them apart. `better`: share of trials in which it was chosen over another system's.

    Intervals are percentiles of the bootstrap over raters and images, and at least as wide as
    Wilson's, which treat answers as independent: the bootstrap has no width where all answers are
    the same.

    Args:
        answers: The answers.
        seed: Seed of the bootstrap.
    """
    rated = answers.rated
    categories = _groups(rated, lambda each: each[1].category)
    return _rates(rated, answers.systems, seed), {
        name: _rates(group, answers.systems, seed) for name, group in categories.items()
    }


def rates_by(answers: Answers, by: str) -> dict[str, Rates]:
    """Return the rates of each rater or image, with Wilson's intervals.

    Args:
        answers: The answers.
        by: `rater` or `image`.
    """
    groups = _groups(answers.rated, lambda each: each[0] if by == "rater" else each[1].image)
    return {name: _rates(group, answers.systems, None) for name, group in groups.items()}


def _groups(rated: Sequence[Rated], key: Callable[[Rated], str]) -> dict[str, list[Rated]]:
    groups: dict[str, list[Rated]] = {name: [] for name in sorted({key(each) for each in rated})}
    for each in rated:
        groups[key(each)].append(each)
    return groups


def _rates(rated: Sequence[Rated], systems: Sequence[str], seed: int | None) -> Rates:
    rates: Rates = {question: {} for question in QUESTIONS}
    for question, of_system in rates.items():
        asked = [(rater, trial) for rater, trial in rated if trial.question == question]
        for system in systems:
            seen = [(rater, t) for rater, t in asked if system in (t.left, t.right)]
            if seen:
                of_system[system] = _rate(seen, system, seed)
    return rates


def _rate(seen: Sequence[Rated], system: str, seed: int | None) -> Rate:
    """Return the rate of a system in the trials in which it was shown."""
    values = np.array([(trial.chosen == system, 1) for _, trial in seen], dtype=float)
    chosen = int(values[:, 0].sum())
    low, high = _wilson(chosen, len(seen))
    if seed is not None:
        raters, images = [rater for rater, _ in seen], [trial.image for _, trial in seen]
        sums = resampled_sums(raters, images, values, seed)
        # A sample may draw no rater with one of that rater's images: it has no rate.
        sums = sums[sums[:, 1] > 0]
        ends = np.quantile(sums[:, 0] / sums[:, 1], TAILS)
        low, high = min(low, float(ends[0])), max(high, float(ends[1]))
    return Rate(chosen, len(seen), low, high)


def _wilson(chosen: int, trials: int) -> tuple[float, float]:
    interval = binomtest(chosen, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
