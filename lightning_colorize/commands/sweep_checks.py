"""Checks of a sweep file's commands with `fit`'s own parser, before the first trial."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import NAMES
from lightning_colorize.sweeps.command_line import (
    expand,
    fit_words,
    parameters_last,
    short_option,
    variables_of,
)
from lightning_colorize.sweeps.space import as_key, shown, variations
from lightning_colorize.sweeps.spec import Sweep, read_sweep

_FILES = (".yaml", ".yml", ".ckpt", ".safetensors", ".pth", ".pt")


def check(sweep: Sweep, file: Path, here: bool = True) -> tuple[list[list[str]], list[str]]:
    """Parse the command of one trial per listed value, as `fit` would.

    For commands of other programs, only check that their environment variables are set. Trials run
    on the devices of this machine if they run `here`.

    Returns:
        The commands, and remarks on settings that are often misunderstood.
    """
    trials = list(variations(sweep.parameters))
    if unset := [name for name in variables_of(sweep) if name not in os.environ]:
        raise UsageError(
            f"{file}: the command needs {' and '.join(unset)}, which the environment does not "
            f"define; write {unset[0]}=VALUE before lightning-colorize"
        )
    commands = [expand(sweep, values) for values in trials]
    words = [found for each in commands if (found := fit_words(each)) is not None]
    configs: list[Any] = []
    if words:
        words += [fit_words(parameters_last(sweep, values)) or [] for values in trials]
        if nulls := [name for values in trials for name in values if values[name] is None]:
            raise UsageError(
                f"{file}: parameters.{nulls[0]}: null would reach fit as the text None; "
                'write "null" with quotes'
            )
        # It takes seconds to import.
        from lightning_colorize.training.session import check_words

        parsed = check_words(words, f"{file}: ", here)
        configs, labeled = parsed[: len(trials)], parsed[len(trials) :]
        _refuse_overridden(file, configs, labeled)
        _refuse_alike(file, trials, configs)
        _refuse_metric(sweep, file, configs)
    return commands, list(_remarks(sweep, configs))


def require_files(file: Path) -> None:
    """Refuse a sweep file that cannot be read, or whose trials name files that do not exist."""
    sweep = read_sweep(file)
    trials = variations(sweep.parameters)
    lines = (fit_words(expand(sweep, values)) or [] for values in trials)
    for word in (word for words in lines for word in words):
        value = word.partition("=")[2] if word.startswith("-") else word
        if value.endswith(_FILES) and "://" not in value and not Path(value).expanduser().is_file():
            raise UsageError(f"{file}: {word}: {value} is not a file; paths begin at {Path.cwd()}")


def _remarks(sweep: Sweep, configs: Sequence[Any]) -> Iterator[str]:
    """Yield hints about settings that are often misunderstood; `configs` are parsed by `fit`."""
    if sweep.trial_count is None:
        yield (
            f"run_cap: missing, so method: {sweep.method} never ends; add one, such as run_cap: 20"
        )
    name = None if sweep.metric is None else sweep.metric.name
    others = sorted({str(config.run.monitor or "null") for config in configs} - {name})
    if name is not None and name.startswith("val/") and others:
        yield (
            f"metric.name: trials are ranked by their best {name}, which best.ckpt may lack: it "
            f"is chosen by run.monitor {', '.join(others)}; set the parameter run.monitor to {name}"
        )
    for name, content in sweep.source["parameters"].items():
        distribution = content.get("distribution")
        if distribution in ("log_uniform", "q_log_uniform"):
            low, high = (f"{math.exp(content[key]):.4g}" for key in ("min", "max"))
            yield (
                f"parameters.{name}: {distribution} draws from {low} to {high}, since min and max "
                f"are exponents of e; use {distribution}_values to give the limits themselves"
            )


def _refuse_overridden(file: Path, configs: list[Any], labeled: list[Any]) -> None:
    """Refuse parameters that the rest of the command overrides: their labels would be wrong."""
    for config, other in zip(configs, labeled, strict=True):
        values, labels = dict(config.items()), dict(other.items())
        for name in labels | values:
            before, after = labels.get(name), values.get(name)
            if before != after:
                raise UsageError(
                    f"{file}: {short_option(name)}: the command sets it to {shown(before)}, "
                    f"then to {shown(after)}; keep one, or change the order "
                    "(parameters are sorted by name; options after ${args} come last)"
                )


def _refuse_alike(file: Path, trials: list[dict[str, Any]], configs: list[Any]) -> None:
    """Refuse values that result in the same configuration."""
    seen: dict[str, dict[str, Any]] = {}
    for values, config in zip(trials, configs, strict=True):
        same = seen.setdefault(repr(config), values)
        for name in values:
            if as_key(values[name]) != as_key(same[name]):
                raise UsageError(
                    f"{file}: parameters.{name}: {shown(same[name])} and {shown(values[name])} "
                    "result in the same configuration; keep one"
                )


def _refuse_metric(sweep: Sweep, file: Path, configs: list[Any]) -> None:
    if sweep.metric is None:
        return
    found = (config.get("model.init_args.metrics") or {} for config in configs)
    own = {name: metric for metrics in found for name, metric in metrics.items()}
    name, logged = sweep.metric.name, (*NAMES, *sorted(own))
    names = ["val/loss", *(f"{split}/{each}" for split in ("val", "test") for each in logged)]
    if name not in names:
        raise UsageError(
            f"{file}: metric.name: '{name}' is not a validation or test metric; "
            f"accepted: {', '.join(names)}"
        )
    metric = own.get(name.rpartition("/")[2])
    if metric and resolve_name(metric.class_path).higher_is_better is (sweep.metric.mode == "min"):
        raise UsageError(f"{file}: metric.goal: contradicts {metric.class_path}.higher_is_better")
    if name.startswith("test/") and not all(config.run.test for config in configs):
        raise UsageError(
            f"{file}: metric.name: '{name}' needs the test, but run.test is false; set it to true, "
            f"or use val/{name.removeprefix('test/')}"
        )
