"""Sample size of a two-sided test, by the normal approximation."""

from statistics import NormalDist

TARGET = 0.8
"""The usual target power."""

NORMAL = NormalDist()


def count_needed(
    difference: float, spread: float, alpha: float, null_spread: float | None = None
) -> float:
    """Return the number of observations that detect a difference with TARGET power.

    The test is two-sided; detections with the wrong sign, rarer than 1 in 100,000, do not count.
    `difference` is the true one, above 0; `spread` is the standard deviation of an observation, at
    least 0, and `null_spread` the one without a difference, by default the same.
    """
    critical = -NORMAL.inv_cdf(alpha / 2) * (spread if null_spread is None else null_spread)
    return ((critical + NORMAL.inv_cdf(TARGET) * spread) / difference) ** 2
