"""How many raters, pairs and images a study needs."""

import math
from bisect import bisect_left
from typing import Literal, NamedTuple

from scipy.optimize import brentq

from lightning_colorize.common.power import NORMAL, TARGET, count_needed

ALPHA = 0.05
"""Level of the two-sided test against 50 %."""

_NULL_SPREAD = 0.5
_MOST = 1_000_000  # raters, pairs or images


class Design(NamedTuple):
    """A study in which each rater judges the same number of pairs of two systems.

    The counts are at least 1. Both correlations are in [0, 1], and so is their sum.
    """

    raters: int
    pairs: int  # Pairs of the two systems that each rater judges.
    images: int
    rater_correlation: float  # Correlation between answers of one rater.
    image_correlation: float  # Correlation between answers to one image.

    @property
    def effect(self) -> float:
        """Design effect: the variance relative to independent answers."""
        answers_per_image = max(1.0, self.raters * self.pairs / self.images)
        return (
            1
            + (self.pairs - 1) * self.rater_correlation
            + (answers_per_image - 1) * self.image_correlation
        )

    @property
    def effective(self) -> float:
        """Effective sample size: the equivalent number of independent answers."""
        return self.raters * self.pairs / self.effect

    def needed(self, name: Literal["raters", "pairs", "images"], answers: float) -> int | None:
        """Return the smallest value of a field that gives so many independent answers.

        The other fields stay. None if no number up to a million is enough.
        """
        values = range(1, _MOST + 1)
        index = bisect_left(values, answers, key=lambda n: self._replace(**{name: n}).effective)
        return values[index] if index < _MOST else None


def power(answers: float, preference: float) -> float:
    """Return the probability that a study detects a preference, by the normal approximation.

    `answers` is the number of independent answers, above 0; `preference` is the true share of the
    answers for one of two systems, in (0, 1).
    """
    difference, spread = _of(preference)
    critical = -NORMAL.inv_cdf(ALPHA / 2) * _NULL_SPREAD
    distance = difference * answers**0.5
    return sum(NORMAL.cdf((sign * distance - critical) / spread) for sign in (1, -1))


def smallest_preference(answers: float) -> float | None:
    """Return the smallest preference above 0.5 detected with TARGET power, or None."""
    most = 1 - 1e-9
    if power(answers, most) < TARGET:
        return None
    return float(brentq(lambda p: power(answers, p) - TARGET, 0.5, most))


def needed(preference: float) -> float:
    """Return the number of independent answers that detect a preference with TARGET power.

    The preference is as in `power`, but not 0.5.
    """
    difference, spread = _of(preference)
    return count_needed(difference, spread, ALPHA, _NULL_SPREAD)


def _of(preference: float) -> tuple[float, float]:
    """Return the distance of a preference from 50 %, and the spread of an answer."""
    return abs(preference - 0.5), math.sqrt(preference * (1 - preference))
