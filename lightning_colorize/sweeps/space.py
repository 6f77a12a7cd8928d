"""The search space: parameters of a sweep file as distributions, the grid, the samplers."""

import json
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PlainValidator
from pydantic.dataclasses import dataclass

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import BaseTrial

Method = Literal["grid", "random", "bayes"]

# A normal distribution has no value at 0 and 1; this is 4.75 standard deviations away.
_TAIL = 1e-6
_SCALARS = (str, int, float, bool, type(None))
_LARGEST_GRID_AXIS = 10_000
# PyYAML reads YAML 1.1, where a number without a point before the exponent (1e-2) or without a
# sign in it (1.0e5) is text.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def shown(value: object) -> str:
    """Return a value as text for a message: short, with `null` as in YAML."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _number(value: object) -> float:
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        raise ValueError(_as_text(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{shown(value)} is not a finite number; write one such as 0.01")
    return value


def _value(value: object) -> object:
    """Refuse values that would not reach a command line as written, at any depth."""
    match value:
        case list() | tuple():
            for item in value:
                _value(item)
        case dict():
            for name, item in value.items():
                if not isinstance(name, str):
                    raise ValueError(f"the key {shown(name)} is not text; put it in quotes")
                _value(item)
        case str() if _EXPONENT.fullmatch(value):
            raise ValueError(_as_text(value))
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is not finite; write a finite number")
        case None | str() | int() | float():
            pass
        case _:
            raise ValueError(f"{shown(value)} is a {type(value).__name__} to YAML; quote it")
    return value


def _as_text(number: str) -> str:
    return f"'{number}' is text to YAML, not a number; write 1.0e-2, with point and sign"


def _several(values: object) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"{shown(values)} is not a list of values; write `[a, b]`")
    _value(values)
    for key, count in Counter(map(as_key, values)).items():
        if count > 1:
            raise ValueError(f"{key} appears twice; keep one, or give probabilities")
    return tuple(values)


def as_key(value: object) -> str:
    """Return a value as JSON: 1, 1.0 and true are equal in Python but not on a command line."""
    return json.dumps(value, sort_keys=True)


Number = Annotated[float, PlainValidator(_number)]
"""A finite number; integers stay integers."""

Positive = Annotated[Number, Field(gt=0)]
Value = Annotated[Any, PlainValidator(_value)]
Values = Annotated[tuple[Any, ...], PlainValidator(_several)]


@dataclass(frozen=True)
class Constant:
    """The same value in every trial; not stored in Optuna."""

    value: Value


@dataclass(frozen=True)
class Categorical:
    """One of several values, uniformly distributed."""

    values: Values

    @property
    def keys(self) -> list[Any]:
        """The Optuna choices that encode the values.

        Distinct scalars encode themselves. All other values are encoded as JSON, because Optuna
        stores no lists and treats True, 1 and 1.0 as one choice.
        """
        scalar = all(isinstance(value, _SCALARS) for value in self.values)
        if scalar and len(set(self.values)) == len(self.values):
            return list(self.values)
        return list(map(as_key, self.values))


@dataclass(frozen=True)
class CategoricalWithProbabilities:
    """One of several values with given probabilities, which sum to 1."""

    values: Values
    probabilities: tuple[Number, ...]

    def __post_init__(self) -> None:
        total, count = sum(self.probabilities), len(self.values)
        if len(self.probabilities) != count or min(self.probabilities) < 0 or abs(total - 1) > 1e-5:
            raise ValueError(f"probabilities: write {count}, none below 0, that sum to 1")


@dataclass(frozen=True)
class _Range:
    min: Any
    max: Any

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}; swap them")
        if self.min == self.max:
            raise ValueError(f"min {self.min} is max too; write `value: {self.min}` alone")


@dataclass(frozen=True)
class IntUniform(_Range):
    """An integer in [min, max], uniformly distributed."""

    min: Annotated[int, Field(strict=True)]
    max: Annotated[int, Field(strict=True)]


@dataclass(frozen=True)
class Uniform(_Range):
    """A real number in [min, max], uniformly distributed."""

    min: Number
    max: Number


@dataclass(frozen=True)
class LogUniform(_Range):
    """A positive number in [min, max] whose logarithm is uniformly distributed."""

    min: Positive
    max: Positive


@dataclass(frozen=True)
class Normal:
    """A normally distributed number with mean `mu` and standard deviation `sigma`."""

    mu: Number = 0.0
    sigma: Positive = 1.0


@dataclass(frozen=True)
class LogNormal(Normal):
    """A positive number whose logarithm has mean `mu` and standard deviation `sigma`."""


@dataclass(frozen=True)
class Quantized:
    """Another distribution, rounded to the nearest multiple of the step `q`.

    Multiples count from 0 as in W&B, not from the lower bound, so a bound that is not a multiple
    may be exceeded: 8 with q 3 gives 9. Optuna stores the value before rounding.
    """

    of: Uniform | LogUniform | Normal | LogNormal
    q: Positive

    def rounded(self, value: float) -> float:
        """Return the nearest multiple of `q`."""
        return round(value / self.q) * self.q


Parameter = (
    Constant
    | Categorical
    | CategoricalWithProbabilities
    | IntUniform
    | Uniform
    | LogUniform
    | Normal
    | LogNormal
    | Quantized
)
"""The distribution of one parameter of a sweep."""


def choices_of(parameter: Parameter) -> Sequence[Any] | None:
    """Return all values, in the file's order; None for a continuous distribution."""
    match parameter:
        case Constant(value):
            return (value,)
        case Categorical(values) | CategoricalWithProbabilities(values, _):
            return values
        case IntUniform(low, high):
            return range(low, high + 1)
    return None


def quantile(parameter: Parameter, u: float) -> Any:
    """Return the quantile at probability `u` in (0, 1); each listed value has its share of it."""
    match parameter:
        case Constant(value):
            return value
        case Categorical(values):
            return values[int(u * len(values))]
        case CategoricalWithProbabilities(values, probabilities):
            # Without the last bound, which rounding may leave below 1.
            return values[bisect_right(list(accumulate(probabilities))[:-1], u)]
        case IntUniform(low, high):
            return low + int(u * (high - low + 1))
        case Uniform(low, high):
            return low + u * (high - low)
        case LogUniform(low, high):
            return math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
        case LogNormal(mu, sigma):
            return math.exp(NormalDist(mu, sigma).inv_cdf(u))
        case Normal(mu, sigma):
            return NormalDist(mu, sigma).inv_cdf(u)
        case Quantized(of):
            return parameter.rounded(quantile(of, u))


def suggest(parameter: Parameter, name: str, trial: "BaseTrial") -> Any:
    """Return a trial's value, in the form that W&B puts on the command line.

    For distributions that Optuna lacks, it stores a probability, uniform in (0, 1), so that its
    samplers still work. A frozen trial returns its stored value.
    """
    match parameter:
        case Constant(value):
            return value
        case Categorical(values):
            keys = parameter.keys
            return values[keys.index(trial.suggest_categorical(name, keys))]
        case IntUniform(low, high):
            return trial.suggest_int(name, low, high)
        case Uniform(low, high):
            return trial.suggest_float(name, low, high)
        case LogUniform(low, high):
            return trial.suggest_float(name, low, high, log=True)
        case Quantized(of):
            return parameter.rounded(suggest(of, name, trial))
    return quantile(parameter, trial.suggest_float(name, _TAIL, 1 - _TAIL))


def grid_axis(parameter: Parameter) -> Categorical | Constant:
    """Return a parameter with its values listed one by one, for a grid.

    `q_uniform` gives min, min + q and so on below max, as in W&B.

    Raises:
        ValueError: If it is continuous, has probabilities, or has too many values.
    """
    match parameter:
        case Constant() | Categorical():
            return parameter
        case IntUniform():
            _require_few(parameter.max - parameter.min + 1)
            return Categorical(tuple(range(parameter.min, parameter.max + 1)))
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
    axes = (each for each in parameters.values() if isinstance(each, Categorical))
    return math.prod(len(axis.values) for axis in axes)


def combination(parameters: Mapping[str, Parameter], index: int) -> dict[str, Any]:
    """Return the Optuna choices that encode one combination of a grid, for `enqueue_trial`.

    The last parameter in alphabetical order changes fastest, as in W&B.
    """
    chosen = {}
    for name, parameter in sorted(parameters.items(), reverse=True):
        if isinstance(parameter, Categorical):
            index, position = divmod(index, len(parameter.values))
            chosen[name] = parameter.keys[position]
    return chosen


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
