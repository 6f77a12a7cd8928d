"""Sweep files in W&B's schema: read, checked strictly, and what they say."""

import math
import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from lightning_colorize.metrics.spec import metric_goal
from lightning_colorize.sweeps.command import read_command
from lightning_colorize.sweeps.goal import Goal
from lightning_colorize.sweeps.grid import listed
from lightning_colorize.sweeps.hyperband import bands_from_max, bands_from_min
from lightning_colorize.sweeps.parameters import Parameter, read_parameters
from lightning_colorize.sweeps.section import Section, shown
from lightning_colorize.sweeps.strict_yaml import read_yaml

# What only W&B's own pages and routing need is let through.
_KNOWN = (
    *("name", "method", "metric", "parameters", "command", "program", "run_cap"),
    *("early_terminate", "description", "project", "entity", "controller", "apiVersion", "kind"),
)
_REFUSED = {
    "job": "W&B Launch has no counterpart here; write `command:`",
    "image_uri": "W&B Launch has no counterpart here; write `command:`",
    "scheduler": "this engine has its own; leave it out and write method: grid, random or bayes",
    "metrics": "a sweep has one objective here; write `metric:`",
}
_LONGEST_NAME = 200  # of the 255 that a folder's name may have: others are made of it
_REFUSED_OF_METRIC = {
    "target": "a sweep does not end at a value here; leave it out and write run_cap",
    "impute": "a failed trial has no value here; leave it out",
    "impute_while_running": "a running trial has no value here; leave it out",
}


@dataclass(frozen=True)
class Metric:
    """What a sweep looks at.

    Attributes:
        name: As it is logged: `val/psnr`.
        goal: Which way is better.
    """

    name: str
    goal: Goal


@dataclass(frozen=True)
class Hyperband:
    """When runs are stopped early.

    Attributes:
        bands: How many values of the metric a run has logged when it is judged, ascending.
        eta: The best 1/eta go on at each band.
        strict: Whether the value at the band counts, rather than the best one so far.
    """

    bands: tuple[int, ...]
    eta: float
    strict: bool


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Attributes:
        name: The file's `name`, else the file's own.
        method: How values are chosen.
        metric: None where the file names none, which grid and random allow.
        parameters: By dotted name, in the file's order.
        command: One token an item, macros not expanded.
        program: What `${program}` stands for.
        run_cap: How many trials there are at most; None for no limit.
        early_terminate: None where every trial runs to its end.
        source: The file's mapping as it is.
    """

    name: str
    method: Literal["grid", "random", "bayes"]
    metric: Metric | None
    parameters: dict[str, Parameter]
    command: tuple[str, ...]
    program: str | None
    run_cap: int | None
    early_terminate: Hyperband | None
    source: dict[str, Any]


def read_sweep(path: Path) -> Sweep:
    """Return what a sweep file says.

    Raises:
        UsageError: `FILE: key: what is wrong; what to write instead`, for the first thing that
            W&B's schema refuses, or that would mean something else in the local engine.
    """
    return parse_sweep(read_yaml(path), str(path))


def parse_sweep(source: Mapping[str, Any], where: str) -> Sweep:
    """Return what a sweep file's mapping says.

    Args:
        source: As YAML or JSON gives it.
        where: The file, for messages; the sweep has its name if it has none of its own.

    Raises:
        UsageError: As `read_sweep`.
    """
    section = Section(where, "", source)
    section.only(_KNOWN, _REFUSED)
    _check_texts(section)
    section.require("method", "`method: grid`, random or bayes")
    method = section.choice("method", ("grid", "random", "bayes"))
    section.require("parameters", "`parameters:` and what is swept below it")
    parameters = read_parameters(section.section("parameters"))
    if method == "grid":
        parameters = {
            name: listed(parameter, Section(where, f"parameters.{name}", {}))
            for name, parameter in parameters.items()
        }
    metric = _read_metric(section) if "metric" in source else None
    for key, wanted in (
        ("method: bayes", method == "bayes"),
        ("early_terminate", "early_terminate" in source),
    ):
        if wanted and metric is None:
            raise section.error("metric", f"missing, and {key} needs it; write its name and goal")
    return Sweep(
        name=_read_name(section, Path(where).stem),
        method=cast(Literal["grid", "random", "bayes"], method),
        metric=metric,
        parameters=parameters,
        command=read_command(section),
        program=section.text("program"),
        run_cap=section.integer("run_cap", 1) if "run_cap" in source else None,
        early_terminate=_read_early_terminate(section) if "early_terminate" in source else None,
        source=deepcopy(dict(source)),
    )


def _check_texts(section: Section) -> None:
    """Check what has no effect here, so that W&B will take it."""
    for key in ("description", "project", "entity", "apiVersion"):
        section.text(key)
    if "kind" in section.content:
        section.choice("kind", ("sweep",))
    if "controller" in section.content:
        controller = section.section("controller")
        controller.require("type", "`type: cloud`, or leave out `controller:`")
        if controller.choice("type", ("cloud", "local")) == "local":
            raise controller.error("type", "is for `wandb controller`; leave out `controller:`")


def _read_name(section: Section, otherwise: str) -> str:
    name = section.text("name") or otherwise
    if name.startswith(".") or set(name) & set("/\\\0"):
        raise section.error("name", f"{shown(name)} is to be a folder's name; no / and no . first")
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise section.error("name", f"{shown(name)} is too long; write {_LONGEST_NAME} letters")
    return name


def _read_metric(section: Section) -> Metric:
    metric = section.section("metric")
    metric.only(("name", "goal"), _REFUSED_OF_METRIC)
    metric.require("name", "`name: val/psnr` or another that is logged")
    name = metric.text("name")
    assert name is not None
    if "goal" not in metric.content and metric_goal(name) == "max":
        raise metric.error("goal", f"missing, which is minimize; for {name} write `goal: maximize`")
    goal = (
        metric.choice("goal", ("minimize", "maximize")) if "goal" in metric.content else "minimize"
    )
    return Metric(name, cast(Goal, goal))


def _read_early_terminate(section: Section) -> Hyperband:
    early = section.section("early_terminate")
    early.only(("type", "min_iter", "max_iter", "s", "eta", "strict"))
    early.require("type", "`type: hyperband`")
    early.choice("type", ("hyperband",))
    eta = early.number("eta", 3)
    if eta <= 1:
        raise early.error("eta", f"{eta} is not above 1; the best 1/eta go on, write 2 or 3")
    # W&B's documentation says false; its package, which decides, fills in true.
    strict = early.content.get("strict", True)
    if not isinstance(strict, bool):
        raise early.error("strict", f"{shown(strict)} is neither true nor false; write one")
    if "min_iter" in early.content:
        for key in ("max_iter", "s"):
            if key in early.content:
                raise early.error(
                    key, "does not go with min_iter; keep min_iter, or max_iter and s"
                )
        return Hyperband(bands_from_min(early.integer("min_iter", 1), eta), eta, strict)
    for key in ("max_iter", "s"):
        early.require(key, "min_iter, or max_iter and s")
    max_iter, s = early.integer("max_iter", 1), early.integer("s", 1)
    bands = bands_from_max(max_iter, s, eta)
    if not bands:
        raise early.error(
            "max_iter",
            f"{max_iter} / eta is below 1, so nothing is ever stopped; "
            f"write {math.ceil(eta)} or more",
        )
    return Hyperband(bands, eta, strict)
