"""Distributions over a list of values."""

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from lightning_colorize.sweeps.parameters.base import Parameter

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

_SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Constant(Parameter):
    """The same value in every trial; Optuna does not hear of it."""

    value: Any
    constant: ClassVar[bool] = True

    @property
    def values(self) -> Sequence[Any]:
        """The value, alone."""
        return (self.value,)

    def quantile(self, u: float) -> Any:
        """Return the value."""
        return self.value

    def suggest(self, trial: "BaseTrial", name: str) -> Any:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class Categorical(Parameter):
    """One of several values, each as likely as the others."""

    choices: tuple[Any, ...]

    @property
    def values(self) -> Sequence[Any]:
        """The values."""
        return self.choices

    def quantile(self, u: float) -> Any:
        """Return the value whose equal share of (0, 1) holds `u`."""
        return self.choices[int(u * len(self.choices))]

    def suggest(self, trial: "BaseTrial", name: str) -> Any:
        """Return one of the values; Optuna chooses among `keys`."""
        keys = self.keys
        return self.choices[keys.index(trial.suggest_categorical(name, keys))]

    @property
    def keys(self) -> list[Any]:
        """What stands for the values in Optuna.

        The values themselves where they are scalars that differ; otherwise their JSON, because
        Optuna stores no lists and takes True, 1 and 1.0 for one choice.
        """
        if all(isinstance(value, _SCALARS) for value in self.choices) and len(
            set(self.choices)
        ) == len(self.choices):
            return list(self.choices)
        return [json.dumps(value, sort_keys=True) for value in self.choices]


@dataclass(frozen=True)
class CategoricalWithProbabilities(Parameter):
    """One of several values, each as likely as is said; Optuna stores a quantile.

    Attributes:
        choices: The values.
        probabilities: One for each, that sum to 1.
    """

    choices: tuple[Any, ...]
    probabilities: tuple[float, ...]

    @property
    def values(self) -> Sequence[Any]:
        """The values."""
        return self.choices

    def quantile(self, u: float) -> Any:
        """Return the value whose share of (0, 1) holds `u`."""
        # Without the last border, which rounding may leave below 1.
        borders = list(accumulate(self.probabilities))[:-1]
        return self.choices[bisect_right(borders, u)]


@dataclass(frozen=True)
class IntUniform(Parameter):
    """A whole number from `low` to `high`, both included, each as likely as the others."""

    low: int
    high: int

    @property
    def values(self) -> Sequence[int]:
        """The numbers, ascending."""
        return range(self.low, self.high + 1)

    def quantile(self, u: float) -> int:
        """Return the number whose equal share of (0, 1) holds `u`."""
        return self.low + int(u * (self.high - self.low + 1))

    def suggest(self, trial: "BaseTrial", name: str) -> int:
        """Return a number that Optuna chooses."""
        return trial.suggest_int(name, self.low, self.high)
