"""The command line of a trial: the macros of `command:`, expanded as W&B's agent does."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_colorize.sweeps.spec import VARIABLE, Sweep

_OURS = "lightning-colorize"


def unset_variables(sweep: Sweep) -> list[str]:
    """Return the environment variables of the command that are not set.

    W&B substitutes the name of a variable that is not set.
    """
    named = (name for token in sweep.command for name in VARIABLE.findall(token))
    return [name for name in dict.fromkeys(named) if name not in os.environ]


def expand(sweep: Sweep, values: Mapping[str, Any]) -> list[str]:
    """Return the command line of a trial.

    Arguments are sorted by name, as W&B sends them: `model.loss` precedes its argument
    `model.loss.beta`. `${interpreter}` is the running Python, where W&B takes the first `python` of
    PATH: a trial needs the packages that the sweep was started with. For the same reason
    `lightning-colorize` is the script beside that Python, if there is one.
    """
    macros = _arguments(values)
    macros["${env}"] = ["/usr/bin/env"] if os.name == "posix" else []
    macros["${interpreter}"] = [sys.executable]
    macros["${program}"] = [] if sweep.program is None else [sweep.program]
    with_variables = (VARIABLE.sub(_variable, token) for token in sweep.command)
    words = [word for token in with_variables for word in macros.get(token, [token])]
    for index, word in enumerate(words):
        if word == _OURS:
            beside = shutil.which(_OURS, path=str(Path(sys.executable).parent))
            words[index] = beside or _OURS
        # `env` may have `NAME=value` before the program.
        if word not in macros["${env}"] and "=" not in word:
            break
    return words


def _arguments(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the expansion of each macro of arguments."""
    pairs = [(name, values[name]) for name in sorted(values)]
    plain = [f"{name}={value}" for name, value in pairs]
    return {
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


def _variable(match: re.Match[str]) -> str:
    return os.environ.get(match[1], match[1])
