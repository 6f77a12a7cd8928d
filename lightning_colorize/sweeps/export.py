"""Exports into a sweep's folder: its trials as CSV and JSON, the winner's configuration as YAML."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_colorize.common.files import require_writable, write_atomic
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.sweeps.status import format_value, leaderboard, rows
from lightning_colorize.sweeps.study import Study

_COLUMNS = ("number", "state", "value", "epoch", "seconds", "reason", "folder")


class NoWinner(Exception):
    """No trial has won, or the winner's configuration is unknown."""


def export_trials(study: Study) -> list[Path]:
    """Write `trials.csv` and `trials.json`; existing ones are overwritten."""
    table, metric = rows(study), study.sweep.metric
    names = list(study.sweep.parameters)
    as_csv = io.StringIO()
    writer = csv.writer(as_csv)
    writer.writerow([*_COLUMNS, *names])
    for row in table:
        cells = [getattr(row, name) for name in _COLUMNS]
        writer.writerow([*cells, *(_cell(row.values.get(name, "")) for name in names)])
    content = {
        "name": study.sweep.name,
        "method": study.sweep.method,
        "metric": None if metric is None else metric.model_dump(),
        "trials": [asdict(row) for row in table],
    }
    as_json = json.dumps(content, indent=1, default=str) + "\n"
    return [_write(study, "trials.csv", as_csv.getvalue()), _write(study, "trials.json", as_json)]


def export_winner(study: Study) -> Path:
    """Write `winner.yaml`, for `fit --config`; an existing one is overwritten.

    Raises:
        NoWinner: If there is no metric, no finished trial, or no configuration of the winner:
            programs other than `fit` write none.
    """
    metric = study.sweep.metric
    if metric is None:
        raise NoWinner("the sweep has no metric")
    ranking = leaderboard(rows(study), study.sweep.mode)
    if not ranking:
        raise NoWinner("no trial has finished")
    first = ranking[0].trials[0]
    config = RunRecord(first.folder).config_text
    if config is None:
        raise NoWinner(f"trial {first.number} is the best, but its folder has no config.yaml")
    head = f"# Trial {first.number} of the sweep {study.sweep.name}: {metric.name} "
    head += format_value(first.value)
    if (count := len(ranking[0].trials)) > 1:
        head += f", the best of {count} seeds, whose mean {format_value(ranking[0].value)} wins"
    return _write(study, "winner.yaml", f"{head}\n{config}")


def _write(study: Study, name: str, text: str) -> Path:
    path = study.folder / name
    require_writable(path, "export to")
    write_atomic(path, text)
    return path


def _cell(value: Any) -> str:
    """Return a value as in a sweep file: `null` and `true`, and text without quotes."""
    return value if isinstance(value, str) else json.dumps(value)
