"""The command line of a trial: W&B's macros in `command:`, expanded as W&B's agent does."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_colorize.sweeps.section import Section
    from lightning_colorize.sweeps.sweep_file import Sweep

DEFAULT = ("${env}", "${interpreter}", "${program}", "${args}")

_OURS = "lightning-colorize"
_ARGUMENTS = (
    *("${args}", "${args_no_equals}", "${args_no_hyphens}", "${args_no_boolean_flags}"),
    *("${args_json}", "${args_append_hydra}", "${args_override_hydra}"),
)
_MACROS = ("${env}", "${interpreter}", "${program}", *_ARGUMENTS)
_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
_TWO_TOKENS = re.compile(r"(--?[\w.-]+) (\S.*)")


def read_command(section: "Section") -> tuple[str, ...]:
    """Return the `command:` of a sweep file, W&B's default where there is none.

    Raises:
        UsageError: If W&B would drop a token, or leave one as it is, that was meant as a macro; if
            a token is two; if parameters do not reach the command.
    """
    tokens = section.content.get("command", list(DEFAULT))
    if not isinstance(tokens, list) or not tokens:
        raise section.error("command", "is no list; write one token an item (`- ${args}`)")
    for index, token in enumerate(tokens):
        if isinstance(token, bool) or not isinstance(token, str | int | float):
            raise section.error(f"command[{index}]", f"{token!r} is no text; put it in quotes")
        _check_token(str(token), index, section)
    if "${program}" in tokens and "program" not in section.content:
        raise section.error("program", "missing, and the command has ${program}; write it")
    if not set(tokens) & set(_ARGUMENTS):
        raise section.error("command", "parameters do not reach it; write `- ${args}` as an item")
    return tuple(map(str, tokens))


def unset_variables(sweep: "Sweep") -> list[str]:
    """Return the environment variables that the command names and that are not set.

    W&B puts a variable's name where it has no value.
    """
    named = (name for token in sweep.command for name in _VARIABLE.findall(token))
    return [name for name in dict.fromkeys(named) if name not in os.environ]


def expand(sweep: "Sweep", values: Mapping[str, Any]) -> list[str]:
    """Return the command line of a trial.

    Arguments come in alphabetical order, as W&B sends them: `model.loss` always before
    `model.loss.beta`, which is an argument of it. `${interpreter}` is the Python that runs this,
    where W&B takes the first `python` of PATH: a trial must find the packages that the sweep was
    started with. For the same reason `lightning-colorize` is the one beside that Python, if any.

    Args:
        sweep: What the file says.
        values: By dotted name.
    """
    macros = _arguments(values)
    macros["${env}"] = ["/usr/bin/env"] if os.name == "posix" else []
    macros["${interpreter}"] = [sys.executable]
    macros["${program}"] = [] if sweep.program is None else [sweep.program]
    with_variables = (_VARIABLE.sub(_variable, token) for token in sweep.command)
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
    """Return what stands for each macro of arguments."""
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
    """Return an environment variable; its name where there is none, as W&B does."""
    return os.environ.get(match[1], match[1])


def _check_token(token: str, index: int, section: "Section") -> None:
    place = f"command[{index}]"
    rest = _VARIABLE.sub("", token)
    if rest.startswith("${") and rest.endswith("}") and rest not in _MACROS:
        raise section.error(
            place, f"{rest} is no macro here; known are {', '.join(_MACROS)}, ${{envvar:NAME}}"
        )
    if rest not in _MACROS and any(macro in rest for macro in _MACROS):
        raise section.error(place, f"{token!r}: a macro stands alone; write it as its own item")
    if (two := _TWO_TOKENS.fullmatch(token)) and "=" not in two[1]:
        raise section.error(place, f"{token!r} is two; write `- {two[1]}` and `- {two[2]}`")
