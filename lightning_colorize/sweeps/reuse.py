"""Finished trials of another sweep, which a new one need not run."""

import shutil
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import flatten, read_config
from lightning_colorize.sweeps.command_line import short_option
from lightning_colorize.sweeps.space import as_key
from lightning_colorize.sweeps.status import TrialRow, rows
from lightning_colorize.sweeps.study import Study


def reuse_trials(study: Study, other: Study) -> int:
    """Copy the run folders of another sweep's finished trials to waiting ones with their values.

    A worker takes the result from the folder. A parameter that the other sweep lacks, such as a
    seed, has the value of the trial's configuration.

    Returns:
        The number of reused trials.

    Raises:
        UsageError: If the commands differ.
    """
    if (study.sweep.command, study.sweep.program) != (other.sweep.command, other.sweep.program):
        raise UsageError(f"--reuse {other.shown}: its trials have another command")
    finished = [(row, _settings(row)) for row in rows(other) if row.state == "finished"]
    count = 0
    for row in rows(study):
        wanted = {name: as_key(value) for name, value in row.values.items()}
        same = [
            old.folder
            for old, settings in finished
            if wanted
            and wanted == {name: settings.get(short_option(name)) for name in wanted}
            and {*old.values} <= {*wanted}
        ]
        if row.state == "waiting" and same and not row.folder.exists():
            shutil.copytree(same[0], row.folder)
            count += 1
    return count


def _settings(row: TrialRow) -> dict[str, Any]:
    """Return a trial's settings by short name, as JSON."""
    settings = {**flatten(read_config(row.folder)), **row.values}
    return {short_option(name): as_key(value) for name, value in settings.items()}
