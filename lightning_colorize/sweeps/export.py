"""Exports: a sweep's trials as CSV or JSON, the winner's configuration as YAML."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable, write_atomic
from lightning_colorize.runs.folder import CONFIG
from lightning_colorize.sweeps.status import TrialRow, format_value, rows, winner
from lightning_colorize.sweeps.study import Study

_COLUMNS = ("number", "state", "value", "epoch", "seconds", "reason", "folder")


def export(study: Study, paths: Sequence[Path], overwrite: bool = False) -> None:
    """Write a study's trials as `.csv` or `.json`, or the winner's configuration as `.yaml`.

    Raises:
        UsageError: If a suffix is unknown, a file exists or is not writable, or there is no winner
            with a readable configuration; nothing is written then.
    """
    table = rows(study)
    texts = {path: _text(study, table, path, overwrite) for path in paths}
    for path in paths:
        require_writable(path, "export to")
    for path, text in texts.items():
        write_atomic(path, text)


def _text(study: Study, table: Sequence[TrialRow], path: Path, overwrite: bool) -> str:
    writers = {".csv": _csv, ".json": _json, ".yaml": _yaml, ".yml": _yaml}
    write = writers.get(path.suffix.lower())
    if write is None:
        raise UsageError(
            f"{path} must end in .csv or .json for the trials, or in .yaml for the winner's "
            "configuration"
        )
    if path.is_file() and not overwrite:
        raise UsageError(f"{path} exists; give another name, or --overwrite")
    return write(study, table)


def _csv(study: Study, table: Sequence[TrialRow]) -> str:
    names = list(study.sweep.parameters)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([*_COLUMNS, *names])
    for row in table:
        cells = [getattr(row, name) for name in _COLUMNS]
        writer.writerow([*cells, *(_cell(row.values, name) for name in names)])
    return file.getvalue()


def _cell(values: dict[str, Any], name: str) -> str | None:
    """Return a value as in a sweep file: `null` and `true`, and text without quotes."""
    if name not in values:
        return None
    value = values[name]
    return value if isinstance(value, str) else json.dumps(value)


def _json(study: Study, table: Sequence[TrialRow]) -> str:
    metric = study.sweep.metric
    content = {
        "name": study.sweep.name,
        "method": study.sweep.method,
        "metric": None if metric is None else {"name": metric.name, "goal": metric.goal},
        "trials": [
            {
                **{name: getattr(row, name) for name in _COLUMNS},
                "values": row.values,
                "history": row.history,
            }
            for row in table
        ],
    }
    return json.dumps(content, indent=1, default=str) + "\n"


def _yaml(study: Study, table: Sequence[TrialRow]) -> str:
    metric = study.sweep.metric
    if metric is None:
        raise UsageError(f"the sweep '{study.sweep.name}' has no metric, and thus no winner")
    best = winner(table, metric.goal)
    if best is None:
        raise UsageError(f"no trial of the sweep '{study.sweep.name}' has finished")
    path = best.folder / CONFIG
    try:
        config = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); export where the runs are"
        ) from None
    message = f"{metric.name} {format_value(best.value)}"
    return f"# Trial {best.number} of the sweep {study.sweep.name}: {message}\n{config}"
