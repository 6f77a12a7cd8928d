"""Sample size of a two-sided test, by the normal approximation."""

from statistics import NormalDist

TARGET = 0.8
"""The usual target power."""


def count_needed(difference: float, spread: float, alpha: float) -> float:
    """Return the number of observations that detect a difference with TARGET power.

    The test is two-sided; detections with the wrong sign, rarer than 1 in 100,000, do not count.
    `difference` is the true one, above 0; `spread` is the standard deviation of an observation, at
    least 0.
    """
    normal = NormalDist()
    return ((normal.inv_cdf(TARGET) - normal.inv_cdf(alpha / 2)) * spread / difference) ** 2
