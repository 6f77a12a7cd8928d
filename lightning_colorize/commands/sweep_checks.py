"""Checks a sweep file's commands with `fit`'s own parser, before the first trial."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.space import Parameter, combination
from lightning_colorize.sweeps.spec import Sweep
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
    first, *others = variations(sweep)
    if fit_words(expand(sweep, first)) is None:
        return
    _refuse_none(sweep, file)
    lines = [fit_words(expand(sweep, values)) or [] for values in (first, *others)]
    models = [config.model.init_args for config in check_words(lines, f"{file}: ")]
    own = {name for model in models for name in model.get("metrics") or {}}
    _refuse_metric(sweep, file, own)


def fit_words(words: list[str]) -> list[str] | None:
    """Return the words after `fit` on a command line; None if it does not call `fit`."""
    for at, word in enumerate(words):
        before = [Path(word).name for word in words[:at]]
        if word == "fit" and any(before[-len(program) :] == program for program in _PROGRAMS):
            return words[at + 1 :]
    return None


def variations(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Yield trials' values such that each listed value of each parameter occurs at least once."""
    draw = random.Random(0)
    listed = {name: _listed(parameter) for name, parameter in sweep.parameters.items()}
    first = {
        name: listed[name][0] if listed[name] else parameter.sample(draw)
        for name, parameter in sweep.parameters.items()
    }
    yield first
    for name, values in listed.items():
        for value in values[1:]:
            yield first | {name: value}


def _listed(parameter: Parameter) -> list[Any]:
    """Return the listed values, or the ends of a range, which may be long."""
    values = parameter.choices or ()
    return [values[0], values[-1]] if isinstance(values, range) else list(values)


def examples(sweep: Sweep, count: int, seed: int) -> list[dict[str, Any]]:
    """Return the values of a grid's first trials, or random draws."""
    if sweep.method == "grid":
        return [combination(sweep.parameters, k) for k in range(min(count, sweep.trial_count or 0))]
    draw = random.Random(seed)
    return [{name: p.sample(draw) for name, p in sweep.parameters.items()} for _ in range(count)]


def _refuse_none(sweep: Sweep, file: Path) -> None:
    for name, parameter in sweep.parameters.items():
        if None in _listed(parameter):
            raise UsageError(
                f"{file}: parameters.{name}: null would reach fit as the text None; "
                'write "null", with the quotes'
            )


def _refuse_metric(sweep: Sweep, file: Path, own: set[str]) -> None:
    from lightning_colorize.metrics.spec import NAMES

    logged = (*NAMES, *sorted(own))
    names = ["val/loss", *(f"{split}/{name}" for split in ("val", "test") for name in logged)]
    if sweep.metric is not None and sweep.metric.name not in names:
        raise UsageError(
            f"{file}: metric.name: '{sweep.metric.name}' is never logged; "
            f"accepted: {', '.join(names)}"
        )
