"""Distributions over real numbers, and their rounding to multiples."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from lightning_colorize.sweeps.parameters.base import Parameter

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclass(frozen=True)
class Uniform(Parameter):
    """A real number in [low, high]."""

    low: float
    high: float

    def quantile(self, u: float) -> float:
        """Return the number a share `u` of the way from low to high."""
        return self.low + u * (self.high - self.low)

    def suggest(self, trial: "BaseTrial", name: str) -> float:
        """Return a number that Optuna chooses."""
        return trial.suggest_float(name, self.low, self.high)


@dataclass(frozen=True)
class LogUniform(Parameter):
    """A positive number in [low, high] whose logarithm is uniform."""

    low: float
    high: float

    def quantile(self, u: float) -> float:
        """Return the number a share `u` of the way from low to high, in logarithms."""
        return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))

    def suggest(self, trial: "BaseTrial", name: str) -> float:
        """Return a number that Optuna chooses in logarithms."""
        return trial.suggest_float(name, self.low, self.high, log=True)


@dataclass(frozen=True)
class Normal(Parameter):
    """A number of mean `mu` and standard deviation `sigma`; Optuna stores a quantile."""

    mu: float
    sigma: float

    def quantile(self, u: float) -> float:
        """Return the number below which a share `u` lies."""
        return NormalDist(self.mu, self.sigma).inv_cdf(u)


@dataclass(frozen=True)
class LogNormal(Normal):
    """A positive number whose logarithm has mean `mu` and standard deviation `sigma`."""

    def quantile(self, u: float) -> float:
        """Return the number below which a share `u` lies."""
        return math.exp(super().quantile(u))


@dataclass(frozen=True)
class Quantized(Parameter):
    """What another distribution gives, rounded to the nearest multiple of `q`.

    W&B counts multiples from 0, not from the least value, so that a bound that is no multiple may
    be rounded past itself: 8 with q 3 gives 9. Optuna stores what was rounded.

    Attributes:
        of: The other distribution.
        q: The step; values are whole numbers if it is one.
    """

    of: Parameter
    q: float

    def quantile(self, u: float) -> float:
        """Return the other's quantile, rounded."""
        return self._rounded(self.of.quantile(u))

    def suggest(self, trial: "BaseTrial", name: str) -> float:
        """Return what the other suggests, rounded."""
        return self._rounded(self.of.suggest(trial, name))

    def _rounded(self, value: float) -> float:
        return round(value / self.q) * self.q
