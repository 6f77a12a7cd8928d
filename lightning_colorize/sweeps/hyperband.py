"""W&B's early termination: one bracket of Hyperband, counted in logged values of the metric.

A run is judged at the last band that it has passed: it continues if it is within the best 1/eta of
all values that runs had at that band (Li et al. 2018, Hyperband, https://arxiv.org/abs/1603.06560,
as W&B's package `sweeps` applies it).
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from lightning_colorize.metrics.spec import Goal, cost
from lightning_colorize.sweeps.space import Number

Count = Annotated[int, Field(strict=True, ge=1)]

# W&B makes 100 bands upwards; no run logs this many values.
_MOST_BANDS, _LAST_BAND = 100, 10**9


class Hyperband(BaseModel):
    """`early_terminate` of a sweep file: the rule by which runs are stopped early."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["hyperband"]
    min_iter: Count | None = None  # the first band; the next ones are multiples by eta
    max_iter: Count | None = None  # or: the number of logged values that `s` bands divide by eta
    s: Count | None = None
    eta: Annotated[Number, Field(gt=1)] = 3  # the best 1/eta of the runs continue at each band
    # Whether the value at the band counts, rather than the best value so far.
    # W&B's documentation says false; its package, which decides, fills in true.
    strict: StrictBool = True

    @model_validator(mode="after")
    def _check(self) -> "Hyperband":
        if (self.min_iter is None) is (self.max_iter is None or self.s is None):
            raise ValueError("write min_iter, or max_iter and s")
        if not self.bands:
            raise ValueError(
                f"max_iter {self.max_iter} / eta is below 1, so no run is ever stopped; "
                f"write {math.ceil(self.eta)} or more"
            )
        return self

    @cached_property
    def bands(self) -> tuple[int, ...]:
        """Bands, as counts of logged values, ascending.

        min_iter, min_iter x eta, min_iter x eta^2 and so on; or max_iter / eta, max_iter / eta^2
        and so on, s of them; rounded down.
        """
        bands: list[int] = []
        if self.min_iter is not None:
            band: float = self.min_iter
            while len(bands) < _MOST_BANDS and band < _LAST_BAND:
                bands.append(int(band))
                band *= self.eta
        elif self.max_iter is not None and self.s is not None:
            band = self.max_iter / self.eta
            while len(bands) < self.s and band >= 1:
                bands.append(int(band))
                band /= self.eta
        return tuple(sorted(set(bands)))


def stop_reason(
    history: Sequence[float],
    others: Sequence[Sequence[float]],
    goal: Goal,
    rule: Hyperband,
) -> str | None:
    """Return why a run is stopped, given the histories of all others; None if it continues.

    Values that are not finite are ignored.
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
    if judged <= threshold:
        return None
    value, limit = cost(judged, goal), cost(threshold, goal)
    return f"{value:.5g} is behind {limit:.5g} at validation {band}"


def _costs(history: Sequence[float], goal: Goal) -> list[float]:
    return [cost(value, goal) for value in history if math.isfinite(value)]
