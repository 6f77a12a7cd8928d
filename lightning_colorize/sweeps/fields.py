"""The fields of a sweep file as pydantic types: numbers, text, values, and the parameters."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from lightning_colorize.sweeps.space import (
    Categorical,
    CategoricalWithProbabilities,
    Constant,
    IntUniform,
    LogNormal,
    LogUniform,
    Normal,
    Parameter,
    Quantized,
    Uniform,
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_LARGEST_EXPONENT = 700  # exp() of more overflows
# PyYAML reads YAML 1.1, where a number without a point before the exponent (1e-2) or without a
# sign in it (1.0e5) is text.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_MISSING = {
    "value": "`value: ` and the value",
    "values": "`values: [...]`",
    "probabilities": "one for each value",
    "min": "`min: ` and a number",
    "max": "`max: ` and a number",
}


def errors_at(*found: tuple[tuple[int | str, ...], str]) -> ValidationError:
    """Return messages as an error, each with its location below the validated value."""
    details: list[InitErrorDetails] = [
        {
            "type": PydanticCustomError("spec", "{message}", {"message": message}),
            "loc": loc,
            "input": None,
        }
        for loc, message in found
    ]
    return ValidationError.from_exception_data("sweep file", details)


def refuse(*found: tuple[str, str]) -> None:
    """Raise one error per key and message, if there are any."""
    if found:
        raise errors_at(*(((key,), message) for key, message in found))


def text(value: object) -> str:
    """Return a value that is text and not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{shown(value)} is not text; write some, in quotes if need be")
    return value


def _number(value: object) -> float:
    if isinstance(value, str):
        raise ValueError(not_a_number(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shown(value)} is not a number; write one such as 0.01")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite; write a finite number")
    return value


def _positive(value: object) -> float:
    if (number := _number(value)) <= 0:
        raise ValueError(f"{number} is not above 0; write a number above 0")
    return number


def _count(value: object) -> int:
    if not isinstance(number := _number(value), int):
        raise ValueError(f"{number} is not an integer; write {round(number)}")
    if number < 1:
        raise ValueError(f"{number} is too small; write 1 or more")
    return number


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false; write one")
    return value


def _value(value: object) -> object:
    if found := list(_value_errors((), value)):
        raise errors_at(*found)
    return value


def _value_errors(loc: tuple[int | str, ...], value: object) -> Iterator[Any]:
    """Yield, at any depth, what would not reach a command line as written."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _value_errors((*loc, index), item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                yield loc, _not_a_text_key(name)
            yield from _value_errors((*loc, str(name)), item)
    elif isinstance(value, str):
        if _EXPONENT.fullmatch(value):
            yield loc, not_a_number(value)
    elif isinstance(value, float) and not math.isfinite(value):
        yield loc, f"{value} is not finite; write a finite number"
    elif not isinstance(value, int | float | None):
        yield loc, f"{shown(value)} is a {type(value).__name__} to YAML; quote it"


def _choices(values: object) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"{shown(values)} is not a list of values; write `[a, b]`")
    _value(values)
    # As JSON, because 1, 1.0 and true are equal in Python but not on a command line.
    written = [json.dumps(value, sort_keys=True) for value in values]
    repeated = [index for index, text in enumerate(written) if text in written[:index]]
    if repeated:
        advice = "appears twice; keep one, or give probabilities"
        raise errors_at(*(((index,), f"{shown(values[index])} {advice}") for index in repeated))
    return tuple(values)


Text = Annotated[str, PlainValidator(text)]
Number = Annotated[float, PlainValidator(_number)]
Positive = Annotated[float, PlainValidator(_positive)]
Count = Annotated[int, PlainValidator(_count)]
Flag = Annotated[bool, PlainValidator(_flag)]


def require_mapping(content: object) -> object:
    """Return a value that is a mapping with text keys and not empty."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{shown(content)} is not a mapping; write `key: value` lines below it")
    if not content:
        raise ValueError("is empty; write `key: value` lines below it, or leave it out")
    for key in content:
        if not isinstance(key, str):
            raise ValueError(_not_a_text_key(key))
    return content


def _parameter_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "W&B takes letters, digits and _.- in a name, no digit first; write another"
        )
    return name


def _distribution(name: object) -> str:
    if isinstance(name, str) and name in _DISTRIBUTIONS:
        return name
    if isinstance(name, str) and name in _REFUSED_DISTRIBUTIONS:
        raise ValueError(f"{name} has no counterpart here; {_REFUSED_DISTRIBUTIONS[name]}")
    raise ValueError(f"{shown(name)} is not known; write one of {', '.join(_DISTRIBUTIONS)}")


class Section(BaseModel):
    """A mapping of a sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _require_content(cls, content: Any) -> Any:
        return require_mapping(content)


class ParameterSection(Section):
    """A parameter as the file describes it: the keys of all distributions."""

    distribution: Annotated[str, PlainValidator(_distribution)] = ""
    value: Annotated[Any, PlainValidator(_value)] = None
    values: Annotated[tuple[Any, ...], PlainValidator(_choices)] = ()
    probabilities: list[Number] = []
    min: Number = 0
    max: Number = 0
    mu: Number = 0.0
    sigma: Positive = 1.0
    q: Positive = 1.0

    @model_validator(mode="before")
    @classmethod
    def _require_mapping(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            key = "values" if isinstance(content, list) else "value"
            raise ValueError(f"not a mapping; write `{key}: {shown(content)}` below it")
        return content

    def build(self) -> Parameter:
        """Return the distribution.

        Raises:
            ValidationError: If keys are missing, do not fit, or contradict each other.
        """
        name = self.distribution or self._inferred()
        needed, optional = _DISTRIBUTIONS[name]
        message = (
            f"does not go with {name}, which takes {', '.join((*needed, *optional))}; "
            "leave it out, or name another `distribution:`"
        )
        given = self.model_fields_set - {"distribution"}
        refuse(*((key, message) for key in given.difference(needed, optional)))
        refuse(*((key, f"missing; write {_MISSING[key]}") for key in needed if key not in given))
        built = self._built(name.removeprefix("q_"))
        return Quantized(built, self.q) if name.startswith("q_") else built

    def _inferred(self) -> str:
        """Return the name of the distribution, inferred by W&B's rules."""
        given = self.model_fields_set
        if "value" in given:
            return "constant"
        if "values" in given:
            return "categorical_w_probabilities" if "probabilities" in given else "categorical"
        if not {"min", "max"} & given:
            raise ValueError("has no values; write value, values, min and max, or distribution")
        return "int_uniform" if type(self.min) is type(self.max) is int else "uniform"

    def _built(self, name: str) -> Parameter:
        match name:
            case "constant":
                return Constant(self.value)
            case "categorical":
                return Categorical(self.values)
            case "categorical_w_probabilities":
                return CategoricalWithProbabilities(self.values, self._shares())
            case "normal":
                return Normal(self.mu, self.sigma)
            case "log_normal":
                return LogNormal(self.mu, self.sigma)
        low, high = self.min, self.max
        if low > high:
            refuse(("min", f"{low} is above max {high}; swap them"))
        if low == high:
            refuse(("min", f"{low} is max too; write `value: {low}` alone"))
        match name:
            case "uniform":
                return Uniform(low, high)
            case "int_uniform":
                message = "is not an integer; write one, or `distribution: uniform`"
                limits = {"min": low, "max": high}.items()
                refuse(*((key, f"{x} {message}") for key, x in limits if not isinstance(x, int)))
                return IntUniform(int(low), int(high))
            case "log_uniform" if max(-low, high) > _LARGEST_EXPONENT:
                raise ValueError(
                    "min and max of this distribution are exponents of e, and these are too "
                    "large; write `log_uniform_values` and the limits themselves"
                )
            case "log_uniform":
                return LogUniform(math.exp(low), math.exp(high))
        if low <= 0:
            refuse(("min", f"{low} has no logarithm; write a number above 0"))
        return LogUniform(low, high)

    def _shares(self) -> tuple[float, ...]:
        shares, count = self.probabilities, len(self.values)
        if len(shares) != count:
            refuse(("probabilities", f"write a list of {count}, one for each value"))
        if min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-5):
            message = f"sum to {sum(shares):g}; write none below 0 that sum to 1"
            refuse(("probabilities", message))
        return tuple(shares)


def _parameter(content: object) -> Parameter:
    return ParameterSection.model_validate(content).build()


ParameterName = Annotated[str, AfterValidator(_parameter_name)]
ParameterField = Annotated[Parameter, PlainValidator(_parameter)]


_LIMITS, _MOMENTS = ("min", "max"), ("mu", "sigma")
# By name: the keys that a distribution needs, and the optional ones.
_DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constant": (("value",), ()),
    "categorical": (("values",), ()),
    "categorical_w_probabilities": (("values", "probabilities"), ()),
    "int_uniform": (_LIMITS, ()),
    "uniform": (_LIMITS, ()),
    "q_uniform": (_LIMITS, ("q",)),
    "log_uniform": (_LIMITS, ()),
    "log_uniform_values": (_LIMITS, ()),
    "q_log_uniform": (_LIMITS, ("q",)),
    "q_log_uniform_values": (_LIMITS, ("q",)),
    "normal": ((), _MOMENTS),
    "q_normal": ((), (*_MOMENTS, "q")),
    "log_normal": ((), _MOMENTS),
    "q_log_normal": ((), (*_MOMENTS, "q")),
}
_REFUSED_DISTRIBUTIONS = {
    "beta": "write uniform, or `values` with `probabilities`",
    "q_beta": "write q_uniform, or `values` with `probabilities`",
    # 1 / X has a uniform logarithm exactly if X has.
    "inv_log_uniform": "write log_uniform_values with the limits themselves",
    "inv_log_uniform_values": "write log_uniform_values: it is the same distribution",
}


def _not_a_text_key(key: object) -> str:
    return f"the key {shown(key)} is not text; put it in quotes"


def shown(value: object) -> str:
    """Return a value as a message shows it: short, and `null` as YAML writes it."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def not_a_number(text: str) -> str:
    """Return the message for text where a number belongs."""
    try:
        plain = repr(float(text))
    except ValueError:
        return f"{shown(text)} is text, not a number; write one such as 0.01 or 1.0e-2"
    # As PyYAML reads it: a point before the exponent.
    plain = plain if "." in plain or "e" not in plain else plain.replace("e", ".0e")
    return f"{shown(text)} is text to YAML, not a number; write {plain}"
