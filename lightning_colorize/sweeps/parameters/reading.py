"""From `{distribution: ..., min: ..., max: ...}` to a distribution, checked strictly."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from lightning_colorize.sweeps.parameters.base import Parameter
from lightning_colorize.sweeps.parameters.continuous import (
    LogNormal,
    LogUniform,
    Normal,
    Quantized,
    Uniform,
)
from lightning_colorize.sweeps.parameters.discrete import (
    Categorical,
    CategoricalWithProbabilities,
    Constant,
    IntUniform,
)
from lightning_colorize.sweeps.section import Section, is_written_number, not_a_number, shown

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# exp() of more is no float.
_LARGEST_EXPONENT = 700


def read_parameters(section: Section) -> dict[str, Parameter]:
    """Return the distributions below `parameters:`, in the file's order.

    Raises:
        UsageError: If one is not as W&B's schema wants it, or has no counterpart here.
    """
    for name, content in section.content.items():
        if not _NAME.fullmatch(name):
            raise section.error(
                name, "W&B takes letters, digits and _.- in a name, no digit first; write another"
            )
        if not isinstance(content, dict):
            key = "values" if isinstance(content, list) else "value"
            raise section.error(name, f"no mapping; write `{key}: {shown(content)}` below it")
    return {name: _read(section.section(name), name) for name in section.content}


def _read(section: Section, name: str) -> Parameter:
    content = section.content
    if "parameters" in content:
        inner = section.section("parameters")
        written = ", ".join(f"`{name}.{key}:`" for key in inner.content)
        raise section.error("parameters", f"nested; write the dotted names instead: {written}")
    section.only(_KEYS)
    distribution = _distribution(section)
    keys, build = _DISTRIBUTIONS[distribution]
    for key in content:
        if key not in ("distribution", *keys):
            raise section.error(
                key,
                f"does not go with {distribution}, which takes {', '.join(keys)}; "
                "leave it out, or name another `distribution:`",
            )
    return build(section)


def _distribution(section: Section) -> str:
    """Return the name of a parameter's distribution, inferred by W&B's rules if it is not there."""
    content = section.content
    if "distribution" in content:
        name = content["distribution"]
        if isinstance(name, str) and name in _REFUSED:
            raise section.error("distribution", f"{name} has no counterpart here; {_REFUSED[name]}")
        return section.choice("distribution", list(_DISTRIBUTIONS))
    if "value" in content:
        return "constant"
    if "values" in content:
        return "categorical_w_probabilities" if "probabilities" in content else "categorical"
    if not {"min", "max"} & set(content):
        raise section.error("", "says no values; write value, values, min and max, or distribution")
    whole = all(type(section.number(key)) is int for key in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def _bounds(section: Section) -> tuple[float, float]:
    low, high = section.number("min"), section.number("max")
    if low > high:
        raise section.error("min", f"{low} is above max {high}; swap them")
    if low == high:
        raise section.error("min", f"{low} is max too; write `value: {low}` alone")
    return low, high


def _constant(section: Section) -> Constant:
    section.require("value", "`value: ` and what it is")
    _check_value("value", section.content["value"], section)
    return Constant(section.content["value"])


def _choices(section: Section) -> tuple[Any, ...]:
    section.require("values", "`values: [...]`")
    values = section.content["values"]
    if not isinstance(values, list) or not values:
        raise section.error("values", f"{shown(values)} is no list of values; write `[a, b]`")
    seen = set()
    for index, value in enumerate(values):
        _check_value(f"values[{index}]", value, section)
        # As JSON, because 1, 1.0 and true are equal in Python but not on a command line.
        if (key := json.dumps(value, sort_keys=True)) in seen:
            raise section.error(
                f"values[{index}]",
                f"{shown(value)} is there twice; keep one, or give probabilities",
            )
        seen.add(key)
    return tuple(values)


def _categorical(section: Section) -> Categorical:
    return Categorical(_choices(section))


def _with_probabilities(section: Section) -> CategoricalWithProbabilities:
    choices = _choices(section)
    section.require("probabilities", "one for each value")
    shares = section.content["probabilities"]
    if not isinstance(shares, list) or len(shares) != len(choices):
        raise section.error("probabilities", f"write a list of {len(choices)}, one for each value")
    each = {f"probabilities[{index}]": share for index, share in enumerate(shares)}
    checked = Section(section.file, section.path, each)
    probabilities = tuple(checked.number(key) for key in each)
    if min(probabilities) < 0 or not math.isclose(sum(probabilities), 1, abs_tol=1e-5):
        raise section.error(
            "probabilities", f"sum to {sum(probabilities):g}; write none below 0, that sum to 1"
        )
    return CategoricalWithProbabilities(choices, probabilities)


def _int_uniform(section: Section) -> IntUniform:
    for key in ("min", "max"):
        if not isinstance(number := section.number(key), int):
            raise section.error(
                key, f"{number} is no whole number; write one, or `distribution: uniform`"
            )
    low, high = _bounds(section)
    return IntUniform(int(low), int(high))


def _uniform(section: Section) -> Uniform:
    return Uniform(*_bounds(section))


def _log_uniform(section: Section) -> LogUniform:
    low, high = _bounds(section)
    if max(-low, high) > _LARGEST_EXPONENT:
        raise section.error(
            "",
            "min and max of this distribution are exponents of e, and these are too large; "
            "write `log_uniform_values` and the limits themselves",
        )
    return LogUniform(math.exp(low), math.exp(high))


def _log_uniform_values(section: Section) -> LogUniform:
    low, high = _bounds(section)
    if low <= 0:
        raise section.error("min", f"{low} has no logarithm; write a number above 0")
    return LogUniform(low, high)


def _normal(section: Section) -> Normal:
    return Normal(section.number("mu", 0.0), _positive(section, "sigma"))


def _log_normal(section: Section) -> LogNormal:
    return LogNormal(section.number("mu", 0.0), _positive(section, "sigma"))


def _quantized(build: Callable[[Section], Parameter]) -> Callable[[Section], Parameter]:
    return lambda section: Quantized(build(section), _positive(section, "q"))


def _positive(section: Section, key: str) -> float:
    value = section.number(key, 1.0)
    if value <= 0:
        raise section.error(key, f"{value} is not above 0; write a number above 0")
    return value


def _check_value(key: str, value: object, section: Section) -> None:
    """Refuse, at any depth, what does not reach a command line as it was meant."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check_value(f"{key}[{index}]", item, section)
    elif isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise section.error(key, f"the key {shown(name)} is no text; put it in quotes")
            _check_value(f"{key}.{name}", item, section)
    elif isinstance(value, str):
        if is_written_number(value):
            raise section.error(key, not_a_number(value))
    elif isinstance(value, float) and not math.isfinite(value):
        raise section.error(key, f"{value} is not finite; write a finite number")
    elif not isinstance(value, int | float | None):
        raise section.error(key, f"{shown(value)} is a {type(value).__name__} to YAML; quote it")


_LIMITS, _MOMENTS = ("min", "max"), ("mu", "sigma")
_DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], Callable[[Section], Parameter]]] = {
    "constant": (("value",), _constant),
    "categorical": (("values",), _categorical),
    "categorical_w_probabilities": (("values", "probabilities"), _with_probabilities),
    "int_uniform": (_LIMITS, _int_uniform),
    "uniform": (_LIMITS, _uniform),
    "q_uniform": ((*_LIMITS, "q"), _quantized(_uniform)),
    "log_uniform": (_LIMITS, _log_uniform),
    "log_uniform_values": (_LIMITS, _log_uniform_values),
    "q_log_uniform": ((*_LIMITS, "q"), _quantized(_log_uniform)),
    "q_log_uniform_values": ((*_LIMITS, "q"), _quantized(_log_uniform_values)),
    "normal": (_MOMENTS, _normal),
    "q_normal": ((*_MOMENTS, "q"), _quantized(_normal)),
    "log_normal": (_MOMENTS, _log_normal),
    "q_log_normal": ((*_MOMENTS, "q"), _quantized(_log_normal)),
}
_REFUSED = {
    "beta": "write uniform, or `values` with `probabilities`",
    "q_beta": "write q_uniform, or `values` with `probabilities`",
    # 1 / X has a uniform logarithm exactly if X has.
    "inv_log_uniform": "write log_uniform_values with the limits themselves",
    "inv_log_uniform_values": "write log_uniform_values: it is the same distribution",
}
_KEYS = ("distribution", "value", "values", "probabilities", *_LIMITS, *_MOMENTS, "q", "a", "b")
