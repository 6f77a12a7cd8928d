"""Sweep files in W&B's schema, as pydantic models: read, checked strictly, one error per key."""

import math
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.mappings import read_mapping
from lightning_colorize.metrics.spec import Goal, metric_goal
from lightning_colorize.sweeps.space import (
    LARGEST_GRID,
    Method,
    Number,
    Parameter,
    grid_size,
    shown,
)

ARGUMENTS = (
    *("${args}", "${args_no_equals}", "${args_no_hyphens}", "${args_no_boolean_flags}"),
    *("${args_json}", "${args_append_hydra}", "${args_override_hydra}"),
)
MACROS = ("${env}", "${interpreter}", "${program}", *ARGUMENTS)
VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_TWO_TOKENS = re.compile(r"(--?[\w.-]+) (\S.*)")

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(strict=True, ge=1)]


class Section(BaseModel):
    """A mapping of a sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class SweepMetric(Section):
    """The metric that a sweep optimizes."""

    name: Text
    goal: Literal["minimize", "maximize"] = "minimize"

    @model_validator(mode="after")
    def _require_goal(self) -> "SweepMetric":
        if "goal" not in self.model_fields_set and metric_goal(self.name) == "max":
            raise ValueError(
                f"goal is missing, so minimize; for {self.name} write `goal: maximize`"
            )
        return self

    @property
    def mode(self) -> Goal:
        """The goal in Lightning's words, not W&B's."""
        return "max" if self.goal == "maximize" else "min"


class Hyperband(Section):
    """The rule by which runs are stopped early: one bracket, as successive halving.

    A run is judged after `min_iter`, `min_iter` x `eta` and so on validations; or, from `max_iter`,
    after `max_iter` divided `s` times by `eta` (fewer times if that were below 1) and so on. Optuna
    judges a run once at each; W&B does so again when other runs arrive there.
    """

    type: Literal["hyperband"]
    min_iter: Count | None = None
    max_iter: Count | None = None
    s: Count | None = None
    eta: Annotated[Number, Field(ge=2, multiple_of=1)] = 3  # the best 1/eta of the runs continue
    strict: bool = True  # by the value there, else by the best so far

    @model_validator(mode="after")
    def _check(self) -> "Hyperband":
        if (self.min_iter is None) is (self.max_iter is None or self.s is None):
            raise ValueError("write min_iter, or max_iter and s")
        if self.max_iter is not None and self.max_iter < self.eta:
            raise ValueError(f"max_iter {self.max_iter} is below eta, so no run is ever stopped")
        return self

    @property
    def first_rung(self) -> int:
        """The number of validations after which a run is first judged."""
        if self.min_iter is not None:
            return self.min_iter
        assert self.max_iter is not None
        assert self.s is not None
        most = int(math.log(self.max_iter, self.eta) + 1e-9)
        return int(self.max_iter / self.eta ** min(self.s, most))


def _name(value: object, info: ValidationInfo) -> str:
    name = Path(str(info.context)).stem if value is None else value
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{shown(name)} is not text; write some, in quotes if need be")
    if name.startswith(".") or set(name) & set("/\\\0"):
        raise ValueError(f"{shown(name)} becomes a folder's name; no / and no leading dot")
    return name


def _command(tokens: object) -> tuple[str, ...]:
    """Refuse tokens that W&B would drop or misread."""
    if not isinstance(tokens, list) or not tokens:
        raise ValueError("is not a list; write one token an item (`- ${args}`)")
    for token in tokens:
        if isinstance(token, bool) or not isinstance(token, str | int | float):
            raise ValueError(f"{token!r} is not text; put it in quotes")
        text = str(token)
        rest = VARIABLE.sub("", text)
        if rest.startswith("${") and rest.endswith("}") and rest not in MACROS:
            known = ", ".join(MACROS)
            raise ValueError(f"{rest} is not a macro here; known are {known}, ${{envvar:NAME}}")
        if rest not in MACROS and any(macro in rest for macro in MACROS):
            raise ValueError(f"{text!r}: a macro stands alone; write it as its own item")
        if (two := _TWO_TOKENS.fullmatch(text)) and "=" not in two[1]:
            raise ValueError(f"{text!r} is two; write `- {two[1]}` and `- {two[2]}`")
    words = tuple(map(str, tokens))
    if not set(words) & set(ARGUMENTS):
        raise ValueError("lacks the parameters; write `- ${args}` as an item")
    return words


def _read_parameter(content: object, info: ValidationInfo) -> Parameter:
    parameter = Parameter.model_validate(content)
    return parameter.as_axis() if info.data.get("method") == "grid" else parameter


def _parameter_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("write letters, digits and _.- alone, no digit first, as W&B needs it")
    return name


class Sweep(Section):
    """A sweep file; `name` defaults to the file's stem."""

    # Keys that only W&B's own pages and routing need are checked, then ignored.
    name: Annotated[str, PlainValidator(_name)] = Field(default=None, validate_default=True)
    method: Method
    metric: SweepMetric | None = None  # optional for grid and random
    # By dotted name, in the file's order.
    parameters: Annotated[
        dict[
            Annotated[str, AfterValidator(_parameter_name)],
            Annotated[Parameter, PlainValidator(_read_parameter)],
        ],
        Field(min_length=1),
    ]
    # One token an item, macros not expanded.
    command: Annotated[tuple[str, ...], PlainValidator(_command)] = (
        *("${env}", "${interpreter}", "${program}", "${args}"),
    )
    program: Text | None = None  # the value of `${program}`
    run_cap: Count | None = None  # maximum number of trials; None: no limit
    early_terminate: Hyperband | None = None  # None: every trial runs to its end
    description: Text | None = None
    project: Text | None = None
    entity: Text | None = None
    # `local` is for `wandb controller`.
    controller: dict[Literal["type"], Literal["cloud"]] | None = None
    apiVersion: Text | None = None
    kind: Literal["sweep"] | None = None

    _source: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Sweep":
        if "${program}" in self.command and self.program is None:
            if "command" in self.model_fields_set:
                raise ValueError("program: missing, and the command has ${program}; write it")
            raise ValueError("command: missing; copy it from sweeps/quick.yaml, or write a program")
        for key, given in (
            ("method: bayes", self.method == "bayes"),
            ("early_terminate", self.early_terminate is not None),
        ):
            if given and self.metric is None:
                raise ValueError(f"metric: missing, and {key} needs it; write its name and goal")
        if self.method == "grid" and (self.trial_count or 0) > LARGEST_GRID:
            raise ValueError(
                f"a grid of {self.trial_count:,} trials; write fewer values, or a run_cap"
            )
        return self

    @property
    def source(self) -> dict[str, Any]:
        """The file's mapping, nested parameters under dotted names."""
        return self._source

    @property
    def pruner(self) -> BasePruner:
        """Optuna's pruner for `early_terminate`."""
        rule = self.early_terminate
        if rule is None:
            return NopPruner()
        return SuccessiveHalvingPruner(min_resource=rule.first_rung, reduction_factor=int(rule.eta))

    @property
    def mode(self) -> Goal | None:
        """The metric's mode; None without a metric."""
        return None if self.metric is None else self.metric.mode

    def best_of(self, values: Iterable[float]) -> float:
        """Return the best of some values of the metric."""
        return (max if self.mode == "max" else min)(values)

    @property
    def trial_count(self) -> int | None:
        """The number of trials; None for no limit."""
        if self.method != "grid":
            return self.run_cap
        size = grid_size(self.parameters)
        return size if self.run_cap is None else min(size, self.run_cap)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        UsageError: One line per key that W&B's schema refuses or that would mean something else in
            the local engine.
    """
    return parse_sweep(read_mapping(path, "method"), str(path))


def parse_sweep(source: Mapping[str, Any], where: str) -> Sweep:
    """Parse the mapping of a sweep file, with the errors of `read_sweep`.

    `where` is the file, for messages; its stem is the default name of the sweep.
    """
    if isinstance(source.get("parameters"), dict):
        source = {**source, "parameters": _flat(source["parameters"], where)}
    try:
        sweep = Sweep.model_validate(source, context=where)
    except ValidationError as error:
        raise UsageError("\n".join(_line(where, details) for details in error.errors())) from None
    sweep._source = deepcopy(dict(source))
    return sweep


def _flat(parameters: Mapping[Any, Any], where: str) -> dict[Any, Any]:
    """Return parameters with nested `parameters:` under dotted names."""
    flat: dict[Any, Any] = {}
    for name, content in parameters.items():
        match content:
            case {"parameters": dict(inner), **others} if inner and not others:
                own = {f"{name}.{key}": value for key, value in _flat(inner, where).items()}
            case _:
                own = {name: content}
        for twice in flat.keys() & own.keys():
            raise UsageError(f"{where}: parameters.{twice}: appears twice; keep one")
        flat |= own
    return flat


def _line(where: str, error: ErrorDetails) -> str:
    """Return `FILE: key: what is wrong`."""
    loc = error["loc"]
    if loc[-1:] == ("[key]",):
        loc = loc[:-1]
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return ": ".join(filter(None, (where, path, error["msg"].removeprefix("Value error, "))))
