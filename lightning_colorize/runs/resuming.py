"""Conditions for resuming a run automatically."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import flatten, read_config
from lightning_colorize.runs.result import RunResult

# Settings that locate the run.
_OF_THE_FOLDER = {"run.root", "run.experiment", "run.name", "run.auto_resume"}


class RunEnded(Exception):
    """The run has nothing left to do."""


def refuse_other_settings(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to resume a run with settings that differ from its configuration.

    Settings that only one of them has are ignored: a newer version may resume a run.

    Raises:
        UsageError: If a setting differs.
    """
    old, new = flatten(read_config(folder)), flatten(config)
    # As text: a number in YAML may be a string on a command line (`--trainer.devices 1`).
    differing = [name for name in old if name in new and str(new[name]) != str(old[name])]
    options = [
        f"--{name.replace('.init_args', '')} {new[name]} (the run has {old[name]})"
        for name in differing
        if name not in _OF_THE_FOLDER
    ]
    if options:
        raise UsageError(
            f"{folder} has other settings: {', '.join(options)}; give another --run.name, "
            f"or change the run: lightning-colorize resume {folder} --KEY VALUE"
        )


def refuse_ended(folder: Path) -> None:
    """Refuse a run that has nothing left to do.

    Raises:
        RunEnded: If it has ended.
    """
    result = RunResult.read(folder)
    if result is not None and result.ended:
        raise RunEnded(f"{folder} is {result.status.replace('_', ' ')}")
