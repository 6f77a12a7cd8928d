"""The search space: distributions of parameters, the combinations of a grid, samplers."""

import json
import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from random import Random

    from optuna.samplers import BaseSampler
    from optuna.trial import BaseTrial

Method = Literal["grid", "random", "bayes"]

# A normal distribution has no value at 0 and 1; this is 4.75 standard deviations away.
_TAIL = 1e-6
_SCALARS = (str, int, float, bool, type(None))
_LARGEST_GRID_AXIS = 10_000


class Parameter(ABC):
    """The distribution of one parameter of a sweep.

    Attributes:
        constant: Whether it has a single value, so that there is nothing to search.
    """

    constant: ClassVar[bool] = False

    @property
    def values(self) -> Sequence[Any] | None:
        """All values, in the file's order; None for a continuous distribution."""
        return None

    @abstractmethod
    def quantile(self, u: float) -> Any:
        """Return the quantile at probability `u` in (0, 1)."""

    def suggest(self, trial: "BaseTrial", name: str) -> Any:
        """Return a trial's value, in the form that W&B puts on the command line.

        By default Optuna stores a probability, uniform in (0, 1), so that its samplers work on
        distributions that Optuna lacks. A frozen trial returns its stored value.
        """
        return self.quantile(trial.suggest_float(name, _TAIL, 1 - _TAIL))

    def sample(self, rng: "Random") -> Any:
        """Draw a value without Optuna."""
        return self.quantile(rng.uniform(_TAIL, 1 - _TAIL))


@dataclass(frozen=True)
class Constant(Parameter):
    """The same value in every trial; not stored in Optuna."""

    value: Any
    constant: ClassVar[bool] = True

    @property
    def values(self) -> Sequence[Any]:
        """The single value."""
        return (self.value,)

    def quantile(self, u: float) -> Any:
        """Return the value."""
        return self.value

    def suggest(self, trial: "BaseTrial", name: str) -> Any:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class Categorical(Parameter):
    """One of several values, uniformly distributed."""

    choices: tuple[Any, ...]

    @property
    def values(self) -> Sequence[Any]:
        """The choices."""
        return self.choices

    def quantile(self, u: float) -> Any:
        """Return the choice whose equal share of (0, 1) contains `u`."""
        return self.choices[int(u * len(self.choices))]

    def suggest(self, trial: "BaseTrial", name: str) -> Any:
        """Return the choice whose key Optuna suggests."""
        keys = self.keys
        return self.choices[keys.index(trial.suggest_categorical(name, keys))]

    @property
    def keys(self) -> list[Any]:
        """The Optuna choices that encode the values.

        Distinct scalars encode themselves. All other values are encoded as JSON, because Optuna
        stores no lists and treats True, 1 and 1.0 as one choice.
        """
        scalar = all(isinstance(value, _SCALARS) for value in self.choices)
        if scalar and len(set(self.choices)) == len(self.choices):
            return list(self.choices)
        return [json.dumps(value, sort_keys=True) for value in self.choices]


@dataclass(frozen=True)
class CategoricalWithProbabilities(Parameter):
    """One of several values with given probabilities, which sum to 1."""

    choices: tuple[Any, ...]
    probabilities: tuple[float, ...]

    @property
    def values(self) -> Sequence[Any]:
        """The choices."""
        return self.choices

    def quantile(self, u: float) -> Any:
        """Return the choice whose share of (0, 1) contains `u`."""
        # Without the last bound, which rounding may leave below 1.
        bounds = list(accumulate(self.probabilities))[:-1]
        return self.choices[bisect_right(bounds, u)]


@dataclass(frozen=True)
class IntUniform(Parameter):
    """An integer in [low, high], uniformly distributed."""

    low: int
    high: int

    @property
    def values(self) -> Sequence[int]:
        """All integers, ascending."""
        return range(self.low, self.high + 1)

    def quantile(self, u: float) -> int:
        """Return the integer whose equal share of (0, 1) contains `u`."""
        return self.low + int(u * (self.high - self.low + 1))

    def suggest(self, trial: "BaseTrial", name: str) -> int:
        """Return the integer that Optuna suggests."""
        return trial.suggest_int(name, self.low, self.high)


@dataclass(frozen=True)
class Uniform(Parameter):
    """A real number in [low, high], uniformly distributed."""

    low: float
    high: float

    def quantile(self, u: float) -> float:
        """Return low + u (high - low)."""
        return self.low + u * (self.high - self.low)

    def suggest(self, trial: "BaseTrial", name: str) -> float:
        """Return the number that Optuna suggests."""
        return trial.suggest_float(name, self.low, self.high)


@dataclass(frozen=True)
class LogUniform(Parameter):
    """A positive number in [low, high] whose logarithm is uniformly distributed."""

    low: float
    high: float

    def quantile(self, u: float) -> float:
        """Return the number at `u` on a logarithmic scale from low to high."""
        return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))

    def suggest(self, trial: "BaseTrial", name: str) -> float:
        """Return the number that Optuna suggests on a logarithmic scale."""
        return trial.suggest_float(name, self.low, self.high, log=True)


@dataclass(frozen=True)
class Normal(Parameter):
    """A normally distributed number with mean `mu` and standard deviation `sigma`."""

    mu: float
    sigma: float

    def quantile(self, u: float) -> float:
        """Return the normal quantile."""
        return NormalDist(self.mu, self.sigma).inv_cdf(u)


@dataclass(frozen=True)
class LogNormal(Normal):
    """A positive number whose logarithm has mean `mu` and standard deviation `sigma`."""

    def quantile(self, u: float) -> float:
        """Return the log-normal quantile."""
        return math.exp(super().quantile(u))


@dataclass(frozen=True)
class Quantized(Parameter):
    """Another distribution, rounded to the nearest multiple of the step `q`.

    Multiples count from 0 as in W&B, not from the lower bound, so a bound that is not a multiple
    may be exceeded: 8 with q 3 gives 9. Optuna stores the value before rounding.
    """

    of: Parameter
    q: float

    def quantile(self, u: float) -> float:
        """Return the rounded quantile of the other distribution."""
        return self._rounded(self.of.quantile(u))

    def suggest(self, trial: "BaseTrial", name: str) -> float:
        """Return the rounded suggestion of the other distribution."""
        return self._rounded(self.of.suggest(trial, name))

    def _rounded(self, value: float) -> float:
        return round(value / self.q) * self.q


def grid_axis(parameter: Parameter) -> Categorical | Constant:
    """Return a parameter with its values listed one by one, as a grid needs it.

    Args:
        parameter: `q_uniform` gives min, min + q and so on below max, as in W&B.

    Raises:
        ValueError: If it is continuous, has probabilities, or has too many values.
    """
    match parameter:
        case Constant() | Categorical():
            return parameter
        case IntUniform(low, high):
            _require_few(high - low + 1)
            return Categorical(tuple(range(low, high + 1)))
        case Quantized(Uniform(low, high), q):
            import numpy as np

            _require_few(math.ceil((high - low) / q))
            return Categorical(tuple(np.arange(low, high, q).tolist()))
    raise ValueError(
        "method grid needs listed values; write `values: [...]` without probabilities, "
        "or method: random"
    )


def _require_few(count: int) -> None:
    if count > _LARGEST_GRID_AXIS:
        raise ValueError(
            f"a grid of {count} values; write fewer as `values: [...]`, or method: random"
        )


def grid_size(parameters: Mapping[str, Parameter]) -> int:
    """Return the number of combinations of a grid."""
    return math.prod(len(_listed(parameter)) for parameter in parameters.values())


def combination(parameters: Mapping[str, Parameter], index: int) -> dict[str, Any]:
    """Return the values of one combination of a grid, constants included.

    The last parameter in alphabetical order changes fastest, as in W&B.
    """
    chosen = _positions(parameters, index)
    return {name: _listed(parameters[name])[chosen[name]] for name in parameters}


def combination_keys(parameters: Mapping[str, Parameter], index: int) -> dict[str, Any]:
    """Return the Optuna choices that encode a combination, for `Study.enqueue_trial`."""
    chosen = _positions(parameters, index)
    return {
        name: parameter.keys[chosen[name]]
        for name, parameter in parameters.items()
        if isinstance(parameter, Categorical)
    }


def _positions(parameters: Mapping[str, Parameter], index: int) -> dict[str, int]:
    positions = {}
    for name in sorted(parameters, reverse=True):
        index, positions[name] = divmod(index, len(_listed(parameters[name])))
    return positions


def _listed(parameter: Parameter) -> Sequence[Any]:
    values = parameter.values
    assert values is not None  # the spec lists the values of a grid
    return values


def sampler_of(method: Method, seed: int, index: int) -> "BaseSampler":
    """Return the Optuna sampler of one trial; a grid's trials are enqueued with their values.

    Each trial has its own random generator. With one generator per worker, all workers would start
    with the same values, and a trial's values would depend on the worker that runs it.
    """
    import numpy as np
    from optuna.samplers import RandomSampler, TPESampler

    own_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    if method == "bayes":
        return TPESampler(seed=own_seed, multivariate=True, constant_liar=True)
    return RandomSampler(seed=own_seed)
