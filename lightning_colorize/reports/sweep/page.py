"""Writes the report of a sweep."""

import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from lightning_colorize.common.files import require_writable, write_atomic
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.sweep.charts import draw_charts
from lightning_colorize.reports.sweep.images import best_trials, image_strips
from lightning_colorize.reports.sweep.tables import SweepTables
from lightning_colorize.runs.folder import CONFIG
from lightning_colorize.sweeps.baselines import not_beaten, read_baselines
from lightning_colorize.sweeps.command import expand
from lightning_colorize.sweeps.labels import Labels, number
from lightning_colorize.sweeps.leaderboard import CONFIDENCE, Place, leaderboard
from lightning_colorize.sweeps.status import TrialRow, best, rows
from lightning_colorize.sweeps.storage import silence
from lightning_colorize.sweeps.study import SWEEP_FILE, Study
from lightning_colorize.sweeps.sweep_file import Metric

REPORT = "report.html"
"""Name of the file in a sweep's folder."""

_DRAWN_WITH = ("lightning-colorize", "optuna", "plotly")
_STATES = ("finished", "pruned", "failed", "running", "waiting")


def write_report(study: Study, images: int = 0) -> Path:
    """Write the report of a study in its present state; an existing report is replaced.

    Args:
        study: The study.
        images: Number of validation images shown.

    Returns:
        The file, `report.html` in the sweep's folder.

    Raises:
        UsageError: If the file cannot be written.
    """
    path = study.folder / REPORT
    require_writable(path, "the report")
    page = _context(study, images)
    write_atomic(path, render("sweep.html.jinja", "kit.css", "kit.js", page=page))
    return path


def _context(study: Study, images: int) -> dict[str, Any]:
    silence()
    sweep, table = study.sweep, rows(study)
    metric, labels = sweep.metric, Labels(sweep)
    tables = SweepTables(table, labels, metric)
    page: dict[str, Any] = {
        "title": f"Sweep {sweep.name}",
        "about": _about(study, table),
        "metric": metric,
        "results": tables.finished() if metric is None else None,
        "images": [],
        "charts": [],
        "winner": None,
        "others": tables.others(),
        "budgets": tables.budgets(),
        "file": _sweep_file(study),
        "made_with": tables.made_with(),
        "drawn_with": [f"{name} {version(name)}" for name in _DRAWN_WITH],
        "seed": study.seed,
        "storage": study.shown,
    }
    places = [] if metric is None else leaderboard(table, metric.goal)
    if metric is not None:
        won = places[0].trials[0].number if places else None
        page["charts"] = draw_charts(table, sweep, metric, labels, won)
    if metric is not None and places:
        baselines = read_baselines(places[0], metric)
        page["results"] = tables.leaderboard(places, baselines)
        page["not_beaten"] = not_beaten(places[0], metric, baselines)
        page["remarks"] = _remarks(places, table, metric)
        page["winner"] = _winner(study, places[0].trials[0])
        trials = best_trials(study)
        page["images"] = image_strips(trials, images)
        shown = {tile.who for strip in page["images"] for tile in strip.tiles}
        page["legend"] = {
            who: f"{labels.changes(row.values)}: {number(row.value)}"
            for row in trials
            if (who := f"trial {row.number}") in shown
        }
    page["columns"] = max((len(strip.tiles) for strip in page["images"]), default=1)
    titles = {
        "results": "Results",
        "images": "Images",
        "charts": "Charts",
        "others": "Not finished",
        "winner": "Winner",
        "budgets": "Budgets",
        "file": "Sweep file",
        "method": "Method",
    }
    always = ("results", "method")
    page["sections"] = [(k, title) for k, title in titles.items() if k in always or page[k]]
    return page


def _about(study: Study, table: Sequence[TrialRow]) -> str:
    counts = {state: sum(row.state == state for row in table) for state in _STATES}
    states = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    about = f"{len(table):,} trial{'' if len(table) == 1 else 's'}: {states or 'none yet'}."
    about += f" Method: {study.sweep.method}."
    metric = study.sweep.metric
    if metric is not None:
        better = "higher" if metric.goal == "maximize" else "lower"
        about += f" Metric: {metric.name}, the best over a run's validations; {better} is better."
    return about


def _remarks(places: Sequence[Place], table: Sequence[TrialRow], metric: Metric) -> list[str]:
    """Return what limits the leaderboard, in sentences."""
    remarks = []
    if any(len(place.trials) + len(place.missing) > 1 for place in places):
        remarks.append(
            "Trials that differ only in their seed share a row: mean, standard deviation, and the "
            f"{100 * CONFIDENCE:g} % t-interval of the mean over seeds."
        )
    if singles := sum(len(place.trials) == 1 for place in places):
        remarks.append(
            f"{singles} of {len(places)} configurations {'was' if singles == 1 else 'were'} "
            "trained once, so the effect of the seed is unknown; train the best again with other "
            "seeds (seed_everything: {values: [1, 2, 3]})."
        )
    if incomplete := sum(bool(place.missing) for place in places):
        remarks.append(
            f"In {incomplete} of them, trials of other seeds failed or were stopped early, which "
            "may bias the mean; n says how many are missing."
        )
    first = best(table, metric.goal)
    if first is not None and first not in [*places[0].trials, *places[0].repeats]:
        remarks.append(
            f"The best single trial is {first.number}, of a configuration that is not the best on "
            "average."
        )
    return remarks


def _winner(study: Study, row: TrialRow) -> dict[str, Any]:
    words = expand(study.sweep, row.values)
    if words[0] == "/usr/bin/env":
        del words[0]
    # The path of this machine's interpreter is of no use elsewhere.
    here = Path(sys.executable).parent
    words = [Path(word).name if Path(word).parent == here else word for word in words]
    config = row.folder / CONFIG
    return {
        "number": row.number,
        "value": number(row.value),
        "folder": str(row.folder),
        "command": shlex.join(words),
        "again": shlex.join(["lightning-colorize", "fit", "--config", str(config)]),
        "configuration": config.read_text(encoding="utf-8") if config.is_file() else None,
    }


def _sweep_file(study: Study) -> str:
    try:
        return (study.folder / SWEEP_FILE).read_text(encoding="utf-8")
    except OSError:
        return yaml.safe_dump(study.sweep.source, sort_keys=False, allow_unicode=True)
