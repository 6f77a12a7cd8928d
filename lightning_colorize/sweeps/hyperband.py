"""W&B's early termination: one bracket of hyperband, counted in logged values of the metric.

A run is judged at the last band that it has passed: among all values that runs had there it must
be within the best 1/eta (Li et al. 2018, Hyperband, https://arxiv.org/abs/1603.06560, as W&B's
package `sweeps` applies it). Nothing here knows who runs the trials.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_colorize.sweeps.goal import Goal, cost

if TYPE_CHECKING:
    from lightning_colorize.sweeps.sweep_file import Hyperband

# W&B makes 100 bands upwards; nobody logs this many values.
_MOST_BANDS, _LAST_BAND = 100, 10**9


@dataclass(frozen=True)
class Standing:
    """How a run stands at the last band that it has passed.

    Attributes:
        band: After how many logged values.
        value: What is judged: the run's best value so far; if strict, its value at the band.
        threshold: The worst value that goes on.
        behind: Whether the run is to be stopped.
    """

    band: int
    value: float
    threshold: float
    behind: bool


def bands_from_min(min_iter: int, eta: float) -> tuple[int, ...]:
    """Return min_iter, min_iter x eta, min_iter x eta^2 and so on, rounded down."""
    bands: list[int] = []
    band: float = min_iter
    while len(bands) < _MOST_BANDS and band < _LAST_BAND:
        bands.append(int(band))
        band *= eta
    return tuple(sorted(set(bands)))


def bands_from_max(max_iter: int, s: int, eta: float) -> tuple[int, ...]:
    """Return up to s bands below max_iter: max_iter / eta, max_iter / eta^2 and so on."""
    bands = []
    band: float = max_iter
    for _ in range(s):
        band /= eta
        if band < 1:
            break
        bands.append(int(band))
    return tuple(sorted(set(bands)))


def standing(
    history: Sequence[float],
    others: Sequence[Sequence[float]],
    goal: Goal,
    rule: "Hyperband",
) -> Standing | None:
    """Judge a run; None before its first band.

    Args:
        history: The run's logged values of the metric; what is not finite does not count.
        others: Those of all other runs of the sweep, running or ended.
        goal: Which way is better.
        rule: The bands, and how strict.
    """
    own = _costs(history, goal)
    passed = [band for band in rule.bands if band <= len(own)]
    if not passed:
        return None
    band = passed[-1]
    everyone = [own, *(_costs(other, goal) for other in others)]
    at_band = sorted(costs[band - 1] for costs in everyone if len(costs) >= band)
    threshold = at_band[int(1 / rule.eta * len(at_band))]
    judged = own[band - 1] if rule.strict else min(own)
    return Standing(band, cost(judged, goal), cost(threshold, goal), judged > threshold)


def is_behind(
    history: Sequence[float], others: Sequence[Sequence[float]], goal: Goal, rule: "Hyperband"
) -> bool:
    """Return whether a run is to be stopped; arguments as `standing` takes them."""
    judged = standing(history, others, goal, rule)
    return judged is not None and judged.behind


def _costs(history: Sequence[float], goal: Goal) -> list[float]:
    return [cost(value, goal) for value in history if math.isfinite(value)]
