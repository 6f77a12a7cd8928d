"""The command lines of a sweep's trials."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_colorize.sweeps.spec import ARGUMENTS, VARIABLE, Sweep

_PROGRAMS = (["lightning-colorize"], ["-m", "lightning_colorize"])


def variables_of(sweep: Sweep) -> list[str]:
    """Return the environment variables that the command names."""
    named = (name for token in sweep.command for name in VARIABLE.findall(token))
    return list(dict.fromkeys(named))


def expand(sweep: Sweep, values: Mapping[str, Any]) -> list[str]:
    """Return the command line of a trial.

    Arguments are sorted by name, as W&B sends them: `model.loss` precedes its argument
    `model.loss.beta`. `${interpreter}` is the running Python, where W&B takes the first `python` of
    PATH: a trial needs the packages that the sweep was started with.
    """
    pairs = [(name, values[name]) for name in sorted(values)]
    plain = [f"{name}={value}" for name, value in pairs]
    macros = {
        "${env}": ["/usr/bin/env"],
        "${interpreter}": [sys.executable],
        "${program}": [] if sweep.program is None else [sweep.program],
        "${args}": [f"--{word}" for word in plain],
        "${args_no_equals}": [word for name, value in pairs for word in (f"--{name}", str(value))],
        "${args_no_hyphens}": plain,
        "${args_no_boolean_flags}": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in pairs
            if value is not False
        ],
        "${args_json}": [json.dumps(dict(pairs))],
        "${args_append_hydra}": [f"+{word}" for word in plain],
        "${args_override_hydra}": [f"++{word}" for word in plain],
    }
    with_variables = (
        VARIABLE.sub(lambda match: os.environ.get(match[1], match[1]), token)
        for token in sweep.command
    )
    return [word for token in with_variables for word in macros.get(token, [token])]


def parameters_last(sweep: Sweep, values: dict[str, Any]) -> list[str]:
    """Return a trial's command with its parameters at the end, in reverse order.

    A parameter still precedes its own arguments (`model.loss` precedes `model.loss.beta`), and
    `config` precedes every option.
    """
    at = next(at for at, token in enumerate(sweep.command) if token in ARGUMENTS)

    def expanded(part: slice, values: dict[str, Any]) -> list[str]:
        return expand(sweep.model_copy(update={"command": sweep.command[part]}), values)

    words = expanded(slice(at + 1, None), {})
    for name in sorted(values, reverse=True):
        inside = "" if name == "config" else f"--{short_option(name)}."
        places = (
            place for place, word in enumerate(words) if short_option(word).startswith(inside)
        )
        place = next(places, len(words))
        words[place:place] = expanded(slice(at, at + 1), {name: values[name]})
    return expanded(slice(at), {}) + words


def short_option(option: str) -> str:
    """Return an option's name without `init_args` and `class_path`, which are optional in `fit`."""
    return option.partition("=")[0].replace(".init_args.", ".").removesuffix(".class_path")


def fit_words(words: list[str]) -> list[str] | None:
    """Return the arguments of `fit` on a command line; None if it does not call `fit`."""
    for at, word in enumerate(words):
        before = [Path(word).name for word in words[:at]]
        if word == "fit" and any(before[-len(program) :] == program for program in _PROGRAMS):
            return words[at + 1 :]
    return None
