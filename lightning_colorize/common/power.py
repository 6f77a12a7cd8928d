"""Sample size of a two-sided test, by the normal approximation."""

from statistics import NormalDist

TARGET = 0.8
"""The usual target power."""

NORMAL = NormalDist()


def count_needed(
    difference: float, spread: float, alpha: float, null_spread: float | None = None
) -> float:
    """Return the number of observations that detect a difference with TARGET power.

    Detections with the wrong sign, rarer than 1 in 100,000, do not count.

    Args:
        difference: True difference, above 0.
        spread: Standard deviation of an observation, at least 0.
        alpha: Significance level of the two-sided test.
        null_spread: Standard deviation without a difference; the same by default.
    """
    critical = -NORMAL.inv_cdf(alpha / 2) * (spread if null_spread is None else null_spread)
    return ((critical + NORMAL.inv_cdf(TARGET) * spread) / difference) ** 2
