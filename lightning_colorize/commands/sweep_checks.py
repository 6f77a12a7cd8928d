"""Checks of a sweep file's commands with `fit`'s own parser, before the first trial."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import RandomSampler

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import NAMES
from lightning_colorize.sweeps.space import Parameter, as_key, shown
from lightning_colorize.sweeps.spec import ARGUMENTS, Sweep, expand, unset_variables

_PROGRAMS = (["lightning-colorize"], ["-m", "lightning_colorize"])


def check(sweep: Sweep, file: Path) -> list[Any]:
    """Parse the command of one trial per listed value, as `fit` would; return its configurations.

    For commands of other programs, only check that their environment variables are set.
    """
    if unset := unset_variables(sweep):
        raise UsageError(
            f"{file}: the command needs {' and '.join(unset)}, which the environment does not "
            f"define; write {unset[0]}=VALUE before lightning-colorize"
        )
    trials = list(variations(sweep))
    if fit_words(expand(sweep, trials[0])) is None:
        return []
    for name, parameter in sweep.parameters.items():
        if None in _listed(name, parameter):
            raise UsageError(
                f"{file}: parameters.{name}: null would reach fit as the text None; "
                'write "null" with quotes'
            )
    # It takes seconds to import.
    from lightning_colorize.training.session import check_words

    commands = [expand(sweep, values) for values in trials]
    commands += [_parameters_last(sweep, values) for values in trials]
    configs = check_words([fit_words(words) or [] for words in commands], f"{file}: ")
    configs, parameters_last = configs[: len(trials)], configs[len(trials) :]
    _refuse_overridden(file, configs, parameters_last)
    _refuse_alike(file, trials, configs)
    own = {name for config in configs for name in config.get("model.init_args.metrics") or {}}
    _refuse_metric(sweep, file, own, tests=all(config.run.test for config in configs))
    return configs


def remarks(sweep: Sweep, configs: Sequence[Any]) -> Iterator[str]:
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


def fit_words(words: list[str]) -> list[str] | None:
    """Return the arguments of `fit` on a command line; None if it does not call `fit`."""
    for at, word in enumerate(words):
        before = [Path(word).name for word in words[:at]]
        if word == "fit" and any(before[-len(program) :] == program for program in _PROGRAMS):
            return words[at + 1 :]
    return None


def variations(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Yield the values of trials that together cover each listed value of each parameter."""
    listed = {name: _listed(name, parameter) for name, parameter in sweep.parameters.items()}
    first = {name: values[0] for name, values in listed.items()}
    yield first
    for name, values in listed.items():
        for value in values[1:]:
            yield first | {name: value}


def _listed(name: str, parameter: Parameter) -> list[Any]:
    """Return the listed values, the ends of an integer range, or else two draws."""
    values = parameter.choices
    if values is None:
        study = optuna.create_study(sampler=RandomSampler(seed=0))
        # One value if rounding makes them equal.
        return list(dict.fromkeys(parameter.suggest(name, study.ask()) for _ in range(2)))
    return [values[0], values[-1]] if isinstance(values, range) else list(values)


def _parameters_last(sweep: Sweep, values: dict[str, Any]) -> list[str]:
    """Return a trial's command with its parameters at the end, in reverse order.

    A parameter still precedes its own arguments (`model.loss` precedes `model.loss.beta`), and
    `config` precedes every option.
    """
    at = next(at for at, token in enumerate(sweep.command) if token in ARGUMENTS)

    def expanded(part: slice, values: dict[str, Any]) -> list[str]:
        return expand(sweep.model_copy(update={"command": sweep.command[part]}), values)

    words = expanded(slice(at + 1, None), {})
    for name in sorted(values, reverse=True):
        inside = "" if name == "config" else f"--{_short(name)}."
        places = (place for place, word in enumerate(words) if _short(word).startswith(inside))
        place = next(places, len(words))
        words[place:place] = expanded(slice(at, at + 1), {name: values[name]})
    return expanded(slice(at), {}) + words


def _short(option: str) -> str:
    """Return an option's name without `init_args` and `class_path`, which are optional in `fit`."""
    return option.partition("=")[0].replace(".init_args.", ".").removesuffix(".class_path")


def _refuse_overridden(file: Path, configs: list[Any], parameters_last: list[Any]) -> None:
    """Refuse parameters that the rest of the command overrides: their labels would be wrong."""
    for config, other in zip(configs, parameters_last, strict=True):
        values, labels = dict(config.items()), dict(other.items())
        for name in labels | values:
            if values.get(name) != labels.get(name):
                raise UsageError(
                    f"{file}: {_short(name)}: the command sets it to {shown(labels.get(name))}, "
                    f"then to {shown(values.get(name))}; keep one, or change the order "
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


def _refuse_metric(sweep: Sweep, file: Path, own: set[str], tests: bool) -> None:
    if sweep.metric is None:
        return
    name, logged = sweep.metric.name, (*NAMES, *sorted(own))
    names = ["val/loss", *(f"{split}/{each}" for split in ("val", "test") for each in logged)]
    if name not in names:
        raise UsageError(
            f"{file}: metric.name: '{name}' is not a validation or test metric; "
            f"accepted: {', '.join(names)}"
        )
    if name.startswith("test/") and not tests:
        raise UsageError(
            f"{file}: metric.name: '{name}' needs the test, but run.test is false; set it to true, "
            f"or use val/{name.removeprefix('test/')}"
        )
