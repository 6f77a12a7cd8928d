"""Sweep files in W&B's schema, as pydantic models: read, checked strictly, one error per key."""

import difflib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import metric_goal
from lightning_colorize.sweeps.hyperband import Goal, Hyperband, bands_from_max, bands_from_min
from lightning_colorize.sweeps.space import (
    Categorical,
    CategoricalWithProbabilities,
    Constant,
    IntUniform,
    LogNormal,
    LogUniform,
    Method,
    Normal,
    Parameter,
    Quantized,
    Uniform,
    grid_axis,
    grid_size,
)

ARGUMENTS = (
    *("${args}", "${args_no_equals}", "${args_no_hyphens}", "${args_no_boolean_flags}"),
    *("${args_json}", "${args_append_hydra}", "${args_override_hydra}"),
)
MACROS = ("${env}", "${interpreter}", "${program}", *ARGUMENTS)
VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")

_TWO_TOKENS = re.compile(r"(--?[\w.-]+) (\S.*)")
_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_LONGEST_NAME = 200  # of the 255 bytes of a folder name: other names are derived from it
_LARGEST_EXPONENT = 700  # exp() of more overflows
# PyYAML reads YAML 1.1, where a number without a point before the exponent (1e-2) or without a
# sign in it (1.0e5) is text.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")

_REFUSED_KEYS = {
    "job": "W&B Launch has no counterpart here; write `command:`",
    "image_uri": "W&B Launch has no counterpart here; write `command:`",
    "scheduler": "this engine has its own; leave it out and write method: grid, random or bayes",
    "metrics": "a sweep has one objective here; write `metric:`",
    "metric.target": "a sweep does not end at a value here; leave it out and write run_cap",
    "metric.impute": "a failed trial has no value here; leave it out",
    "metric.impute_while_running": "a running trial has no value here; leave it out",
}
_MISSING = {
    "method": "`method: grid`, random or bayes",
    "parameters": "`parameters:` and the swept parameters below it",
    "metric.name": "`name: val/psnr` or another logged metric",
    "controller.type": "`type: cloud`, or leave out `controller:`",
    "early_terminate.type": "`type: hyperband`",
    "value": "`value: ` and the value",
    "values": "`values: [...]`",
    "probabilities": "one for each value",
    "min": "`min: ` and a number",
    "max": "`max: ` and a number",
}


def _errors(*found: tuple[tuple[int | str, ...], str]) -> ValidationError:
    """Return messages as an error, each with its location below the validated value."""
    details: list[InitErrorDetails] = [
        {"type": PydanticCustomError("spec", "{said}", {"said": said}), "loc": loc, "input": None}
        for loc, said in found
    ]
    return ValidationError.from_exception_data("sweep file", details)


def _refuse(*found: tuple[str, str]) -> None:
    """Raise one error per key and message, if there are any."""
    if found:
        raise _errors(*(((key,), said) for key, said in found))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{_shown(value)} is not text; write some, in quotes if need be")
    return value


def _number(value: object) -> float:
    if isinstance(value, str):
        raise ValueError(not_a_number(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_shown(value)} is not a number; write one such as 0.01")
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
        raise ValueError(f"{_shown(value)} is neither true nor false; write one")
    return value


def _value(value: object) -> object:
    if found := list(_value_errors((), value)):
        raise _errors(*found)
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
        yield loc, f"{_shown(value)} is a {type(value).__name__} to YAML; quote it"


def _choices(values: object) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"{_shown(values)} is not a list of values; write `[a, b]`")
    _value(values)
    # As JSON, because 1, 1.0 and true are equal in Python but not on a command line.
    written = [json.dumps(value, sort_keys=True) for value in values]
    repeated = [index for index, text in enumerate(written) if text in written[:index]]
    if repeated:
        advice = "appears twice; keep one, or give probabilities"
        raise _errors(*(((index,), f"{_shown(values[index])} {advice}") for index in repeated))
    return tuple(values)


Text = Annotated[str, PlainValidator(_text)]
Number = Annotated[float, PlainValidator(_number)]
Positive = Annotated[float, PlainValidator(_positive)]
Count = Annotated[int, PlainValidator(_count)]
Flag = Annotated[bool, PlainValidator(_flag)]


def _section(content: object) -> object:
    if not isinstance(content, Mapping):
        raise ValueError(f"{_shown(content)} is not a mapping; write `key: value` lines below it")
    if not content:
        raise ValueError("is empty; write `key: value` lines below it, or leave it out")
    for key in content:
        if not isinstance(key, str):
            raise ValueError(_not_a_text_key(key))
    return content


def _parameter_name(name: str) -> str:
    if not _PARAMETER_NAME.fullmatch(name):
        raise ValueError(
            "W&B takes letters, digits and _.- in a name, no digit first; write another"
        )
    return name


def _distribution(name: object) -> str:
    if isinstance(name, str) and name in _DISTRIBUTIONS:
        return name
    if isinstance(name, str) and name in _REFUSED_DISTRIBUTIONS:
        raise ValueError(f"{name} has no counterpart here; {_REFUSED_DISTRIBUTIONS[name]}")
    raise ValueError(f"{_shown(name)} is not known; write one of {', '.join(_DISTRIBUTIONS)}")


class _Section(BaseModel):
    """A mapping of a sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _require_content(cls, content: Any) -> Any:
        return _section(content)


class _Parameter(_Section):
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
            raise ValueError(f"not a mapping; write `{key}: {_shown(content)}` below it")
        return content

    def build(self) -> Parameter:
        """Return the distribution.

        Raises:
            ValidationError: If keys are missing, do not fit, or contradict each other.
        """
        name = self.distribution or self._inferred()
        needed, optional = _DISTRIBUTIONS[name]
        said = (
            f"does not go with {name}, which takes {', '.join((*needed, *optional))}; "
            "leave it out, or name another `distribution:`"
        )
        given = self.model_fields_set - {"distribution"}
        _refuse(*((key, said) for key in given.difference(needed, optional)))
        _refuse(*((key, f"missing; write {_MISSING[key]}") for key in needed if key not in given))
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
            _refuse(("min", f"{low} is above max {high}; swap them"))
        if low == high:
            _refuse(("min", f"{low} is max too; write `value: {low}` alone"))
        match name:
            case "uniform":
                return Uniform(low, high)
            case "int_uniform":
                said = "is not an integer; write one, or `distribution: uniform`"
                limits = {"min": low, "max": high}.items()
                _refuse(*((key, f"{x} {said}") for key, x in limits if not isinstance(x, int)))
                return IntUniform(int(low), int(high))
            case "log_uniform" if max(-low, high) > _LARGEST_EXPONENT:
                raise ValueError(
                    "min and max of this distribution are exponents of e, and these are too "
                    "large; write `log_uniform_values` and the limits themselves"
                )
            case "log_uniform":
                return LogUniform(math.exp(low), math.exp(high))
        if low <= 0:
            _refuse(("min", f"{low} has no logarithm; write a number above 0"))
        return LogUniform(low, high)

    def _shares(self) -> tuple[float, ...]:
        shares, count = self.probabilities, len(self.values)
        if len(shares) != count:
            _refuse(("probabilities", f"write a list of {count}, one for each value"))
        if min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-5):
            said = f"sum to {sum(shares):g}; write none below 0 that sum to 1"
            _refuse(("probabilities", said))
        return tuple(shares)


def _parameter(content: object) -> Parameter:
    return _Parameter.model_validate(content).build()


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


class Metric(_Section):
    """The metric that a sweep optimizes.

    Attributes:
        name: As it is logged: `val/psnr`.
        goal: Which direction is better.
    """

    name: Text
    goal: Goal = "minimize"

    @model_validator(mode="after")
    def _require_goal(self) -> "Metric":
        if "goal" not in self.model_fields_set and metric_goal(self.name) == "max":
            said = f"missing, so minimize; for {self.name} write `goal: maximize`"
            _refuse(("goal", said))
        return self


class _EarlyTerminate(_Section):
    type: Literal["hyperband"]
    min_iter: Count | None = None
    max_iter: Count | None = None
    s: Count | None = None
    eta: Number = 3
    # W&B's documentation says false; its package, which decides, fills in true.
    strict: Flag = True

    @model_validator(mode="after")
    def _check(self) -> "_EarlyTerminate":
        given = self.model_fields_set
        found = []
        if self.eta <= 1:
            found.append(("eta", f"{self.eta} is not above 1; the best 1/eta go on, write 2 or 3"))
        for key in ("max_iter", "s"):
            if "min_iter" in given and key in given:
                said = "does not go with min_iter; keep min_iter, or max_iter and s"
                found.append((key, said))
            elif "min_iter" not in given and key not in given and not found:
                found.append((key, "missing; write min_iter, or max_iter and s"))
        if not found and not self.rule().bands:
            said = f"{self.max_iter} / eta is below 1, so no run is ever stopped"
            found.append(("max_iter", f"{said}; write {math.ceil(self.eta)} or more"))
        _refuse(*found)
        return self

    def rule(self) -> Hyperband:
        if self.min_iter is not None:
            bands = bands_from_min(self.min_iter, self.eta)
        else:
            assert self.max_iter is not None
            assert self.s is not None
            bands = bands_from_max(self.max_iter, self.s, self.eta)
        return Hyperband(bands, self.eta, self.strict)


class _Controller(_Section):
    type: Literal["cloud", "local"]

    @model_validator(mode="after")
    def _refuse_local(self) -> "_Controller":
        if self.type == "local":
            _refuse(("type", "is for `wandb controller`; leave out `controller:`"))
        return self


def _name(value: object, info: ValidationInfo) -> str:
    name = Path(str(info.context)).stem if value is _UNNAMED else _text(value)
    if name.startswith(".") or set(name) & set("/\\\0"):
        raise ValueError(f"{_shown(name)} becomes a folder's name; no / and no leading dot")
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise ValueError(f"{_shown(name)} is too long; write at most {_LONGEST_NAME} bytes")
    return name


def _command(tokens: object) -> tuple[str, ...]:
    """Refuse tokens that W&B would drop or misread."""
    if not isinstance(tokens, list) or not tokens:
        raise ValueError("is not a list; write one token an item (`- ${args}`)")
    found = [((index,), _token_error(token)) for index, token in enumerate(tokens)]
    if wrong := [(loc, said) for loc, said in found if said]:
        raise _errors(*wrong)
    if not {str(token) for token in tokens} & set(ARGUMENTS):
        raise ValueError("lacks the parameters; write `- ${args}` as an item")
    return tuple(map(str, tokens))


def _token_error(token: object) -> str:
    if isinstance(token, bool) or not isinstance(token, str | int | float):
        return f"{token!r} is not text; put it in quotes"
    text = str(token)
    rest = VARIABLE.sub("", text)
    if rest.startswith("${") and rest.endswith("}") and rest not in MACROS:
        return f"{rest} is not a macro here; known are {', '.join(MACROS)}, ${{envvar:NAME}}"
    if rest not in MACROS and any(macro in rest for macro in MACROS):
        return f"{text!r}: a macro stands alone; write it as its own item"
    if (two := _TWO_TOKENS.fullmatch(text)) and "=" not in two[1]:
        return f"{text!r} is two; write `- {two[1]}` and `- {two[2]}`"
    return ""


_UNNAMED = object()


class Sweep(_Section):
    """A sweep file.

    Attributes:
        name: The file's `name`, by default the file's own.
        method: How values are chosen.
        metric: Optional for grid and random.
        parameters: By dotted name, in the file's order.
        command: One token an item, macros not expanded.
        run_cap: Maximum number of trials; None for no limit.
        early_terminate: None if every trial runs to its end.
        program: The value of `${program}`.
    """

    # The keys that only W&B's own pages and routing need are checked and ignored.
    name: Annotated[str, PlainValidator(_name)] = Field(default=_UNNAMED, validate_default=True)
    method: Method
    metric: Metric | None = None
    parameters: Annotated[
        dict[
            Annotated[str, AfterValidator(_parameter_name)],
            Annotated[Parameter, PlainValidator(_parameter)],
        ],
        BeforeValidator(_section),
    ]
    command: Annotated[tuple[str, ...], PlainValidator(_command)] = (
        *("${env}", "${interpreter}", "${program}", "${args}"),
    )
    program: Text | None = None
    run_cap: Count | None = None
    early_terminate: Annotated[
        Hyperband | None, PlainValidator(lambda rule: _EarlyTerminate.model_validate(rule).rule())
    ] = None
    description: Text | None = None
    project: Text | None = None
    entity: Text | None = None
    controller: _Controller | None = None
    apiVersion: Text | None = None
    kind: Literal["sweep"] | None = None

    _source: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Sweep":
        if "${program}" in self.command and self.program is None:
            said = "missing, and the command has ${program}; write it"
            _refuse(("program", said))
        for key, given in (
            ("method: bayes", self.method == "bayes"),
            ("early_terminate", self.early_terminate is not None),
        ):
            if given and self.metric is None:
                said = f"missing, and {key} needs it; write its name and goal"
                _refuse(("metric", said))
        if self.method == "grid":
            for name, parameter in self.parameters.items():
                try:
                    self.parameters[name] = grid_axis(parameter)
                except ValueError as error:
                    raise _errors((("parameters", name), str(error))) from None
        return self

    @property
    def source(self) -> dict[str, Any]:
        """The file's mapping, unchanged."""
        return self._source

    @property
    def trial_count(self) -> int | None:
        """The number of trials; None for no limit."""
        if self.method != "grid":
            return self.run_cap
        size = grid_size(self.parameters)
        return size if self.run_cap is None else min(size, self.run_cap)


_SECTIONS: dict[str, type[_Section]] = {
    "metric": Metric,
    "parameters": _Parameter,
    "early_terminate": _EarlyTerminate,
    "controller": _Controller,
}


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        UsageError: `FILE: key: what is wrong; what to write instead`, one line per key that W&B's
            schema refuses or that would mean something else in the local engine.
    """
    return parse_sweep(_read_yaml(path), str(path))


def parse_sweep(source: Mapping[str, Any], where: str) -> Sweep:
    """Parse the mapping of a sweep file.

    Args:
        source: As YAML or JSON gives it.
        where: The file, for messages; its stem is the default name of the sweep.

    Raises:
        UsageError: As `read_sweep`.
    """
    try:
        sweep = Sweep.model_validate(source, context=where)
    except ValidationError as error:
        raise UsageError("\n".join(_line(where, details) for details in error.errors())) from None
    sweep._source = deepcopy(dict(source))
    return sweep


def _line(where: str, error: ErrorDetails) -> str:
    """Return `FILE: key: what is wrong; what to write instead`."""
    loc = error["loc"]
    if loc[-1:] == ("[key]",):
        loc = loc[:-1]
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return ": ".join(filter(None, (where, path, _said(error, path))))


def _said(error: ErrorDetails, path: str) -> str:
    given, key = error["input"], path.rpartition(".")[2]
    match error["type"]:
        case "missing":
            return f"missing; write {_MISSING[path]}"
        case "extra_forbidden":
            known = list(_SECTIONS.get(str(error["loc"][0]), Sweep).model_fields)
            if key == "parameters" and isinstance(given, dict):
                written = ", ".join(f"`{error['loc'][1]}.{inner}:`" for inner in given)
                return f"nested; write the dotted names instead: {written}"
            close = difflib.get_close_matches(key, known, n=1)
            meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            return _REFUSED_KEYS.get(path) or f"unknown key; {meant}"
        case "literal_error":
            accepted = ", ".join(re.findall("'(.+?)'", error["ctx"]["expected"]))
            return f"{_shown(given)} is not known; write one of {accepted}"
        case "value_error":
            return str(error["ctx"]["error"])
    return error["msg"]


def _not_a_text_key(key: object) -> str:
    return f"the key {_shown(key)} is not text; put it in quotes"


def _shown(value: object) -> str:
    """Return a value as a message shows it: short, and `null` as YAML writes it."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def not_a_number(text: str) -> str:
    """Return the message for text where a number belongs."""
    try:
        plain = repr(float(text))
    except ValueError:
        return f"{_shown(text)} is text, not a number; write one such as 0.01 or 1.0e-2"
    # As PyYAML reads it: a point before the exponent.
    plain = plain if "." in plain or "e" not in plain else plain.replace("e", ".0e")
    return f"{_shown(text)} is text to YAML, not a number; write {plain}"


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, of which PyYAML silently keeps the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before `<<` is merged in, whose keys may be given again on purpose.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"`{key.value}` appears twice; keep one"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(key.value)
        return node


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a sweep file") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text; give a sweep file") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UsageError(f"{path}: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        # Characters that YAML does not allow, dates that do not exist.
        raise UsageError(f"{path}: is not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: not a mapping; a sweep file has keys such as `method:`")
    return content
