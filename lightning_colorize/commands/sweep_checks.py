"""Checks a sweep file's commands with `fit`'s own parser, before the first trial."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.space import Parameter, as_key, shown
from lightning_colorize.sweeps.spec import ARGUMENTS, Sweep
from lightning_colorize.sweeps.trial import expand, unset_variables
from lightning_colorize.training.checking import check_words

_PROGRAMS = (["lightning-colorize"], ["-m", "lightning_colorize"])


def check(sweep: Sweep, file: Path) -> None:
    """Parse the command of one trial per listed value, as `fit` would.

    For another program's command, check only that its environment variables are set.

    Raises:
        UsageError: With the parameter and the accepted values.
    """
    if unset := unset_variables(sweep):
        raise UsageError(
            f"{file}: the command needs {' and '.join(unset)}, which the environment lacks; "
            f"write {unset[0]}=VALUE before lightning-colorize"
        )
    trials = list(variations(sweep))
    if fit_words(expand(sweep, trials[0])) is None:
        return
    _refuse_none(sweep, file)
    _refuse_overridden(sweep, file)
    lines = [fit_words(expand(sweep, values)) or [] for values in trials]
    configs = check_words(lines, f"{file}: ")
    _refuse_alike(file, trials, configs)
    own = {name for config in configs for name in config.get("model.init_args.metrics") or {}}
    _refuse_metric(sweep, file, own, tests=all(config.run.test for config in configs))


def remarks(sweep: Sweep) -> Iterator[str]:
    """Yield what a sweep file means, where something else is often intended."""
    if sweep.trial_count is None:
        never = f"run_cap: missing, so method: {sweep.method} never ends"
        yield f"{never}; write one, such as run_cap: 20"
    for name, content in sweep.source["parameters"].items():
        distribution = content.get("distribution")
        if distribution in ("log_uniform", "q_log_uniform"):
            low, high = (f"{math.exp(content[key]):.4g}" for key in ("min", "max"))
            yield (
                f"parameters.{name}: {distribution} draws from {low} to {high}, as min and max are "
                f"exponents of e; {distribution}_values takes the limits themselves"
            )


def fit_words(words: list[str]) -> list[str] | None:
    """Return the words after `fit` on a command line; None if it does not call `fit`."""
    for at, word in enumerate(words):
        before = [Path(word).name for word in words[:at]]
        if word == "fit" and any(before[-len(program) :] == program for program in _PROGRAMS):
            return words[at + 1 :]
    return None


def variations(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Yield trials' values such that each listed value of each parameter occurs at least once."""
    listed = {name: _listed(parameter) for name, parameter in sweep.parameters.items()}
    first = {name: values[0] for name, values in listed.items()}
    yield first
    for name, values in listed.items():
        for value in values[1:]:
            yield first | {name: value}


def _listed(parameter: Parameter) -> list[Any]:
    """Return the listed values, the ends of a range, which may be long, or else two quartiles."""
    values = parameter.choices
    if values is None:
        # One, if they are rounded to the same number.
        return list(dict.fromkeys((parameter.quantile(0.5), parameter.quantile(0.75))))
    return [values[0], values[-1]] if isinstance(values, range) else list(values)


def _refuse_none(sweep: Sweep, file: Path) -> None:
    for name, parameter in sweep.parameters.items():
        if None in _listed(parameter):
            raise UsageError(
                f"{file}: parameters.{name}: null would reach fit as the text None; "
                'write "null", with the quotes'
            )


def _refuse_overridden(sweep: Sweep, file: Path) -> None:
    """Refuse a parameter that a later option sets again: trials with other labels would be alike.

    `fit` accepts names without `init_args`, and a class without `class_path`.
    """
    macro = next(at for at, token in enumerate(sweep.command) if token in ARGUMENTS)
    later = [token[2:] for token in sweep.command[macro + 1 :] if token.startswith("--")]
    seen: dict[str, str] = {}
    for name in [*sorted(sweep.parameters), *(option.partition("=")[0] for option in later)]:
        short = name.replace(".init_args.", ".")
        key = short.removesuffix(".class_path")
        for earlier_key, earlier in seen.items():
            if earlier_key == key or earlier_key.startswith(f"{short}."):
                remedy = "keep one" if earlier_key == key else f"write {earlier_key}"
                raise UsageError(
                    f"{file}: parameters.{earlier}: {name}, which comes later on the command "
                    f"line, overrides it; {remedy}"
                )
        if name in sweep.parameters and name != "config":  # a later file adds to the former
            seen[key] = name


def _refuse_alike(file: Path, trials: list[dict[str, Any]], configs: list[Any]) -> None:
    """Refuse values that give the configuration of the first: a later `--config` overrides them."""
    for values, config in zip(trials[1:], configs[1:], strict=True):
        if config == configs[0]:
            name = next(name for name in values if as_key(values[name]) != as_key(trials[0][name]))
            raise UsageError(
                f"{file}: parameters.{name}: {shown(trials[0][name])} and {shown(values[name])} "
                "give the same configuration; keep one, or remove what overrides the parameter"
            )


def _refuse_metric(sweep: Sweep, file: Path, own: set[str], tests: bool) -> None:
    from lightning_colorize.metrics.spec import NAMES

    if sweep.metric is None:
        return
    name, logged = sweep.metric.name, (*NAMES, *sorted(own))
    names = ["val/loss", *(f"{split}/{each}" for split in ("val", "test") for each in logged)]
    if name not in names:
        raise UsageError(
            f"{file}: metric.name: '{name}' is not a metric of validations or tests; "
            f"accepted: {', '.join(names)}"
        )
    if name.startswith("test/") and not tests:
        raise UsageError(
            f"{file}: metric.name: '{name}' needs the test, but run.test is false; set it to true, "
            f"or write val/{name.removeprefix('test/')}"
        )
