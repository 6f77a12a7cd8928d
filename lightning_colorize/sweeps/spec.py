"""Sweep files in W&B's schema, as pydantic models: read, checked strictly, one error per key."""

import difflib
import math
import os
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import metric_goal
from lightning_colorize.sweeps.fields import (
    Count,
    Flag,
    Number,
    ParameterField,
    ParameterName,
    ParameterSection,
    Section,
    Text,
    errors_at,
    refuse,
    require_mapping,
    shown,
    text,
)
from lightning_colorize.sweeps.hyperband import Goal, Hyperband, bands_from_max, bands_from_min
from lightning_colorize.sweeps.space import Method, grid_axis, grid_size

ARGUMENTS = (
    *("${args}", "${args_no_equals}", "${args_no_hyphens}", "${args_no_boolean_flags}"),
    *("${args_json}", "${args_append_hydra}", "${args_override_hydra}"),
)
MACROS = ("${env}", "${interpreter}", "${program}", *ARGUMENTS)
VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")

_TWO_TOKENS = re.compile(r"(--?[\w.-]+) (\S.*)")
_LONGEST_NAME = 200  # of the 255 bytes of a folder name: other names are derived from it

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
}


class Metric(Section):
    """The metric that a sweep optimizes."""

    name: Text
    goal: Goal = "minimize"

    @model_validator(mode="after")
    def _require_goal(self) -> "Metric":
        if "goal" not in self.model_fields_set and metric_goal(self.name) == "max":
            message = f"missing, so minimize; for {self.name} write `goal: maximize`"
            refuse(("goal", message))
        return self


class _EarlyTerminate(Section):
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
            found.append(
                ("eta", f"{self.eta} is not above 1; the best 1/eta continue, write 2 or 3")
            )
        for key in ("max_iter", "s"):
            if "min_iter" in given and key in given:
                message = "conflicts with min_iter; keep min_iter, or max_iter and s"
                found.append((key, message))
            elif "min_iter" not in given and key not in given and not found:
                found.append((key, "missing; write min_iter, or max_iter and s"))
        if not found and not self.rule().bands:
            message = f"{self.max_iter} / eta is below 1, so no run is ever stopped"
            found.append(("max_iter", f"{message}; write {math.ceil(self.eta)} or more"))
        refuse(*found)
        return self

    def rule(self) -> Hyperband:
        if self.min_iter is not None:
            bands = bands_from_min(self.min_iter, self.eta)
        else:
            assert self.max_iter is not None
            assert self.s is not None
            bands = bands_from_max(self.max_iter, self.s, self.eta)
        return Hyperband(bands, self.eta, self.strict)


class _Controller(Section):
    type: Literal["cloud", "local"]

    @model_validator(mode="after")
    def _refuse_local(self) -> "_Controller":
        if self.type == "local":
            refuse(("type", "is for `wandb controller`; leave out `controller:`"))
        return self


def _name(value: object, info: ValidationInfo) -> str:
    name = Path(str(info.context)).stem if value is _UNNAMED else text(value)
    if name.startswith(".") or set(name) & set("/\\\0"):
        raise ValueError(f"{shown(name)} becomes a folder's name; no / and no leading dot")
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise ValueError(f"{shown(name)} is too long; write at most {_LONGEST_NAME} bytes")
    return name


def _command(tokens: object) -> tuple[str, ...]:
    """Refuse tokens that W&B would drop or misread."""
    if not isinstance(tokens, list) or not tokens:
        raise ValueError("is not a list; write one token an item (`- ${args}`)")
    found = [((index,), _token_error(token)) for index, token in enumerate(tokens)]
    if wrong := [(loc, message) for loc, message in found if message]:
        raise errors_at(*wrong)
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


class Sweep(Section):
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
        dict[ParameterName, ParameterField],
        BeforeValidator(require_mapping),
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
            message = "missing, and the command has ${program}; write it"
            refuse(("program", message))
        for key, given in (
            ("method: bayes", self.method == "bayes"),
            ("early_terminate", self.early_terminate is not None),
        ):
            if given and self.metric is None:
                message = f"missing, and {key} needs it; write its name and goal"
                refuse(("metric", message))
        found: list[tuple[tuple[str, str], str]] = []
        for name, parameter in self.parameters.items() if self.method == "grid" else ():
            try:
                self.parameters[name] = grid_axis(parameter)
            except ValueError as error:
                found.append((("parameters", name), str(error)))
        if found:
            raise errors_at(*found)
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


_SECTIONS: dict[str, type[Section]] = {
    "metric": Metric,
    "parameters": ParameterSection,
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
    return ": ".join(filter(None, (where, path, _message(error, path))))


def _message(error: ErrorDetails, path: str) -> str:
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
            return f"{shown(given)} is not known; write one of {accepted}"
        case "list_type":
            return f"{shown(given)} is not a list; write `[a, b]`"
        case "value_error":
            return str(error["ctx"]["error"])
    return error["msg"]


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
