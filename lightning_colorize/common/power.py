"""How likely a difference is seen, and how many observations it takes: normal approximation."""

from statistics import NormalDist

TARGET = 0.8
"""Usual power."""

_NORMAL = NormalDist()


def power(
    difference: float, spread: float, count: float, alpha: float, null_spread: float | None = None
) -> float:
    """Return the probability that a two-sided test sees a difference of a mean.

    Args:
        difference: True difference, at least 0.
        spread: Standard deviation of an observation, above 0.
        count: Number of independent observations, above 0.
        alpha: Level of the test.
        null_spread: Standard deviation without a difference; the same by default.
    """
    critical = -_NORMAL.inv_cdf(alpha / 2) * (spread if null_spread is None else null_spread)
    distance = difference * count**0.5
    ends = ((sign * distance - critical) / spread for sign in (1, -1))
    return sum(map(_NORMAL.cdf, ends))


def count_needed(
    difference: float, spread: float, alpha: float, null_spread: float | None = None
) -> float:
    """Return the number of observations that see a difference with TARGET power.

    A difference that is seen with the wrong sign, which is rarer than 1 in 100,000, does not count.

    Args:
        difference: True difference, above 0.
        spread: Standard deviation of an observation, at least 0.
        alpha: Level of the two-sided test.
        null_spread: Standard deviation without a difference; the same by default.
    """
    critical = -_NORMAL.inv_cdf(alpha / 2) * (spread if null_spread is None else null_spread)
    return ((critical + _NORMAL.inv_cdf(TARGET) * spread) / difference) ** 2
