"""The parameters of a sweep file: how Optuna draws them, the grid, and trials that cover them."""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from statistics import NormalDist
from typing import Annotated, Any, Literal

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import BaseTrial
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

Method = Literal["grid", "random", "bayes"]

# A normal distribution has no value at 0 and 1; this is 4.75 standard deviations away.
_TAIL = 1e-6
LARGEST_GRID = 10_000
# PyYAML reads YAML 1.1, where a number without a point before the exponent (1e-2) or without a
# sign in it (1.0e5) is text.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")

_TAKES = {
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "log_uniform": ("min", "max"),  # exponents of e
    "log_uniform_values": ("min", "max"),
    "normal": ("mu", "sigma"),
    "log_normal": ("mu", "sigma"),
}
_TAKES |= {f"q_{name}": (*takes, "q") for name, takes in [*_TAKES.items()][4:]}


def shown(value: object) -> str:
    """Format a value as short YAML for messages."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def as_key(value: object) -> str:
    """Return a value as JSON: 1, 1.0 and true are equal in Python but not on a command line."""
    return json.dumps(value, sort_keys=True)


def _number(value: object) -> float:
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        raise ValueError(_as_text(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{shown(value)} is not a finite number; write one such as 0.01")
    return value


def _value(value: object) -> object:
    """Refuse values that would not reach a command line as written, at any depth."""
    match value:
        case list():
            return [_value(item) for item in value]
        case dict() if all(isinstance(name, str) for name in value):
            return {name: _value(item) for name, item in value.items()}
        case str() if _EXPONENT.fullmatch(value):
            raise ValueError(_as_text(value))
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is not finite; write a finite number")
        case None | str() | int() | float():
            return value
    raise ValueError(f"{shown(value)} is a {type(value).__name__} to YAML; quote it")


def _as_text(number: str) -> str:
    mantissa, _, exponent = number.lower().partition("e")
    point, sign = "" if "." in mantissa else ".0", "" if exponent[0] in "+-" else "+"
    right = f"{mantissa}{point}e{sign}{exponent}"
    return f"'{number}' is text to YAML, not a number; write {right}, with point and sign"


def _several(values: object) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"{shown(values)} is not a list of values; write `[a, b]`")
    keys = [as_key(_value(value)) for value in values]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"{twice[0]} appears twice; keep one, or give probabilities")
    return tuple(values)


Number = Annotated[float, PlainValidator(_number)]
"""A finite number; integers stay integers."""


class Parameter(BaseModel):
    """The distribution of one parameter of a sweep, with the keys of W&B's schema.

    `q` rounds to its multiples, which count from 0 as in W&B, not from the lower bound.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    distribution: str
    value: Annotated[Any, PlainValidator(_value)] = None
    values: Annotated[tuple[Any, ...], PlainValidator(_several)] = ()
    probabilities: tuple[Number, ...] = ()
    min: Number = 0
    max: Number = 1
    mu: Number = 0.0
    sigma: Annotated[Number, Field(gt=0)] = 1.0
    q: Annotated[Number, Field(gt=0)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _infer(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            key = "values" if isinstance(content, list) else "value"
            raise ValueError(f"not a mapping; write `{key}: {shown(content)}` below it")
        given = {key: value for key, value in content.items() if key != "distribution"}
        name = content.get("distribution") or _inferred(given)
        if not isinstance(name, str) or name not in _TAKES:
            known = ", ".join(_TAKES)
            raise ValueError(f"distribution {shown(name)} is not known; write one of {known}")
        takes = _TAKES[name]
        if unknown := [str(key) for key in given if key not in takes]:
            raise ValueError(f"{name} takes {', '.join(takes)}; leave out {', '.join(unknown)}")
        required = [key for key in takes if key not in ("mu", "sigma", "q")]
        if missing := [key for key in required if key not in given]:
            raise ValueError(f"{missing[0]}: missing; write `{missing[0]}:` and a value")
        return {**given, "distribution": name}

    @model_validator(mode="after")
    def _check(self) -> "Parameter":
        name, low, high = self.distribution, self.min, self.max
        if not low < high:
            raise ValueError(f"min {low} is not below max {high}; write `value: {low}` for one")
        if name == "int_uniform" and not (type(low) is type(high) is int):
            raise ValueError("min and max of int_uniform are integers; write uniform, or integers")
        if name.endswith("log_uniform_values") and low <= 0:
            raise ValueError(f"min {low} is not greater than 0, which {name} needs")
        if name.endswith("log_uniform") and not -700 < low < high < 700:
            raise ValueError(
                "min and max of log_uniform are exponents of e, and these are too far from 0; "
                "write `log_uniform_values` and the limits themselves"
            )
        shares, count = self.probabilities, len(self.values)
        if shares and (len(shares) != count or min(shares) < 0 or abs(sum(shares) - 1) > 1e-5):
            raise ValueError(f"probabilities: write {count}, none below 0, that sum to 1")
        return self

    @property
    def choices(self) -> Sequence[Any] | None:
        """All values, in the file's order; None for a continuous distribution."""
        match self.distribution:
            case "constant":
                return (self.value,)
            case "int_uniform":
                return range(int(self.min), int(self.max) + 1)
        return self.values or None

    @property
    def is_varied(self) -> bool:
        """Whether trials differ in it."""
        # A range may be too long for len().
        return self.choices is None or len(self.choices[:2]) > 1

    @property
    def keys(self) -> list[Any]:
        """The Optuna choices that encode the values.

        Distinct scalars encode themselves. All other values are encoded as JSON, because Optuna
        stores no lists and treats True, 1 and 1.0 as one choice.
        """
        is_scalar = not any(isinstance(value, list | dict) for value in self.values)
        if is_scalar and len(set(self.values)) == len(self.values):
            return list(self.values)
        return list(map(as_key, self.values))

    def suggest(self, name: str, trial: BaseTrial) -> Any:
        """Return a trial's value, in the form that W&B puts on the command line.

        For distributions that Optuna lacks, it stores a probability, uniform in (0, 1), so that its
        samplers still work. A frozen trial returns its stored value.
        """
        low, high = self.min, self.max
        match self.distribution.removeprefix("q_"):
            case "constant":
                return self.value
            case "categorical":
                return self.values[self.keys.index(trial.suggest_categorical(name, self.keys))]
            case "categorical_w_probabilities":
                # Without the last bound, which rounding may leave below 1.
                bounds = list(accumulate(self.probabilities))[:-1]
                return self.values[
                    bisect_right(bounds, trial.suggest_float(name, _TAIL, 1 - _TAIL))
                ]
            case "int_uniform":
                return trial.suggest_int(name, int(low), int(high))
            case "uniform":
                drawn = trial.suggest_float(name, low, high)
            case "log_uniform":
                drawn = trial.suggest_float(name, math.exp(low), math.exp(high), log=True)
            case "log_uniform_values":
                drawn = trial.suggest_float(name, low, high, log=True)
            case normal:
                share = trial.suggest_float(name, _TAIL, 1 - _TAIL)
                drawn = NormalDist(self.mu, self.sigma).inv_cdf(share)
                drawn = math.exp(drawn) if normal == "log_normal" else drawn
        return round(drawn / self.q) * self.q if self.distribution.startswith("q_") else drawn

    def as_axis(self) -> "Parameter":
        """Return the parameter with its values listed one by one, for a grid.

        `q_uniform` gives min, min + q and so on below max, as in W&B.

        Raises:
            ValueError: If it is continuous, has probabilities, or has too many values.
        """
        match self.distribution:
            case "constant" | "categorical":
                return self
            case "int_uniform":
                count = int(self.max) - int(self.min) + 1
                values: Any = range(int(self.min), int(self.max) + 1)
            case "q_uniform":
                count = math.ceil((self.max - self.min) / self.q)
                values = np.arange(self.min, self.max, self.q) if count < 1e6 else ()
            case _:
                raise ValueError(
                    "method grid needs listed values; write `values: [...]` without probabilities, "
                    "or method: random"
                )
        if count > LARGEST_GRID:
            raise ValueError(
                f"a grid of {count} values; write fewer as `values: [...]`, or method: random"
            )
        return Parameter(distribution="categorical", values=np.asarray(values).tolist())


def _inferred(given: Mapping[str, Any]) -> str:
    """Return the name of the distribution, inferred by W&B's rules."""
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical_w_probabilities" if "probabilities" in given else "categorical"
    if not {"min", "max"} & given.keys():
        raise ValueError("has no values; write value, values, min and max, or distribution")
    return "int_uniform" if type(given.get("min")) is type(given.get("max")) is int else "uniform"


def grid_size(parameters: Mapping[str, Parameter]) -> int:
    """Return the number of combinations of a grid."""
    return math.prod(len(parameter.values or (None,)) for parameter in parameters.values())


def combination(parameters: Mapping[str, Parameter], index: int) -> dict[str, Any]:
    """Return the Optuna choices that encode one combination of a grid, for `enqueue_trial`.

    The last parameter in alphabetical order changes fastest, as in W&B.
    """
    chosen = {}
    for name, parameter in sorted(parameters.items(), reverse=True):
        if parameter.values:
            index, position = divmod(index, len(parameter.values))
            chosen[name] = parameter.keys[position]
    return chosen


def variations(parameters: Mapping[str, Parameter]) -> Iterator[dict[str, Any]]:
    """Yield the values of trials that together cover each listed value of each parameter.

    An integer range is covered by its ends, a continuous distribution by two draws.
    """
    covered = {name: _covering(name, parameter) for name, parameter in parameters.items()}
    first = {name: values[0] for name, values in covered.items()}
    yield first
    for name, values in covered.items():
        for value in values[1:]:
            yield first | {name: value}


def _covering(name: str, parameter: Parameter) -> list[Any]:
    values = parameter.choices
    if values is None:
        study = optuna.create_study(sampler=RandomSampler(seed=0))
        # One value if rounding makes them equal.
        return list(dict.fromkeys(parameter.suggest(name, study.ask()) for _ in range(2)))
    return [values[0], values[-1]] if isinstance(values, range) else list(values)
