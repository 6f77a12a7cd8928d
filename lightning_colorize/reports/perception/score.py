"""Rates from answers: how often a system fooled people, and how often it was preferred."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import binomtest

from lightning_colorize.metrics.spec import CONFIDENCE, TAILS
from lightning_colorize.reports.perception.answers import Answers, Rated
from lightning_colorize.reports.perception.bradley_terry import resampled_sums

QUESTIONS: Mapping[str, str] = {"real": "fooling", "better": "preference"}
"""The rate that each question of the page gives."""


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
    """Return the rate of a system in the trials in which it was shown."""
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
