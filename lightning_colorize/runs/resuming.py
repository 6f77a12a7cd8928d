"""Conditions for resuming a run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import flatten, read_config

# Settings that locate the run.
_OF_THE_FOLDER = {"run.root", "run.experiment", "run.name", "run.auto_resume"}

# Settings that the checkpoint contains, or that define its best score.
_OF_THE_CHECKPOINT = re.compile(
    r"model\.init_args\.(\w*(optimizer|scheduler)(\..*)?|encoder_lr_ratio)|run\.(monitor|mode)"
)


class RunEnded(Exception):
    """The run has nothing left to do."""


def refuse_other_settings(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to resume a run with settings that differ from its configuration.

    Settings that only one of them has are ignored: a newer version may resume a run.
    """
    changes = _changes(folder, config)
    options = [option for name, option in changes.items() if name not in _OF_THE_FOLDER]
    if options:
        raise UsageError(
            f"{folder} has other settings: {', '.join(options)}; give another --run.name, "
            f"or change the run: {COMMAND} resume {folder} --KEY VALUE"
        )


def refuse_settings_of_checkpoint(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to change settings that the checkpoint would silently override."""
    changes = _changes(folder, config)
    options = [option for name, option in changes.items() if _OF_THE_CHECKPOINT.fullmatch(name)]
    if options:
        raise UsageError(
            "a resumed run keeps its optimizer, schedule and monitored metric: "
            f"{', '.join(options)}; start another run with fit"
        )


def _changes(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that differ from a run's, by name: option, value, former value."""
    old, new = flatten(read_config(folder)), flatten(config)
    for one, other in ((old, new), (new, old)):
        # A class in place of null has settings of its own.
        for name in [name for name, value in one.items() if value is None and name not in other]:
            if (path := other.get(f"{name}.class_path")) is not None:
                other[name] = path
    # As text: a number in YAML may be a string on a command line (`--trainer.devices 1`).
    return {
        name: f"--{name.replace('.init_args', '')} {_text(new[name])} (the run has {_text(value)})"
        for name, value in old.items()
        if name in new and str(new[name]) != str(value)
    }


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
