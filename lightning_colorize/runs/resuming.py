"""Whether a command that was started again may go on with the run that it began before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import flatten, read_config
from lightning_colorize.runs.result import RunResult

# By these the run was found.
_OF_THE_FOLDER = {"run.root", "run.experiment", "run.name", "run.auto_resume"}


class RunEnded(Exception):
    """The run has nothing left to do.

    Attributes:
        folder: The run's.
    """

    def __init__(self, folder: Path, status: str) -> None:
        super().__init__(f"{folder} is {status.replace('_', ' ')}")
        self.folder = folder


def refuse_other_settings(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to go on with a run under other settings than those that it began with.

    Settings that one of the two does not have are left out: a run may go on under a newer version.

    Args:
        folder: The run's.
        config: What the command says, nested as `config.yaml` is.

    Raises:
        UsageError: If a setting differs.
    """
    begun, now = flatten(read_config(folder)), flatten(config)
    # As text: what is a number in YAML may be a string on a command line (`--trainer.devices 1`).
    others = [name for name in begun if name in now and str(now[name]) != str(begun[name])]
    said = [
        f"--{name.replace('.init_args', '')} {now[name]} (the run has {begun[name]})"
        for name in others
        if name not in _OF_THE_FOLDER
    ]
    if said:
        raise UsageError(
            f"{folder} began with other settings: {', '.join(said)}; give another --run.name, "
            f"or change the run: lightning-colorize resume {folder} --KEY VALUE"
        )


def refuse_ended(folder: Path) -> None:
    """Refuse a run that has nothing left to do.

    Raises:
        RunEnded: If it is one.
    """
    result = RunResult.read(folder)
    if result is not None and result.ended:
        raise RunEnded(folder, result.status)
