"""Rates from answers: how often a system fooled people, and how often it was preferred."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from lightning_colorize.metrics.spec import CONFIDENCE
from lightning_colorize.reports.perception.answers import Answers, Trial
from lightning_colorize.reports.perception.resampling import TAILS, draw_weights

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
    """Return the rates over all images, and those of each category.

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
    weights = None
    if seed is not None and rated:
        weights = draw_weights([r for r, _ in rated], [t.image for _, t in rated], seed)
    for question in QUESTIONS:
        for system in systems:
            shown = np.array(
                [t.question == question and system in (t.left, t.right) for _, t in rated], bool
            )
            if not shown.any():
                continue
            chosen = shown & np.array([t.chosen == system for _, t in rated])
            low, high = _wilson(int(chosen.sum()), int(shown.sum()))
            if weights is not None:
                # A sample may lack all of a system's trials: it has no rate.
                of = weights @ shown
                ends = np.quantile((weights @ chosen)[of > 0] / of[of > 0], TAILS)
                low, high = min(low, float(ends[0])), max(high, float(ends[1]))
            rates[question][system] = Rate(int(chosen.sum()), int(shown.sum()), low, high)
    return rates


def _wilson(chosen: int, trials: int) -> tuple[float, float]:
    interval = binomtest(chosen, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
