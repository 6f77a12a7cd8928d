"""The page: what is said about a sweep, in one HTML file."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from lightning_colorize.common.files import require_writable, write_atomic
from lightning_colorize.reports.sweep.charts import Chart, draw_charts
from lightning_colorize.reports.sweep.images import Photograph, legend, side_by_side
from lightning_colorize.reports.sweep.plain_study import plain_study
from lightning_colorize.reports.sweep.runs import (
    made_with,
    read_configuration,
    read_facts,
)
from lightning_colorize.reports.sweep.tables import (
    baseline_rows,
    budget_rows,
    leaderboard_rows,
    other_rows,
    plain_rows,
)
from lightning_colorize.runs.folder import CONFIG
from lightning_colorize.sweeps.command import expand
from lightning_colorize.sweeps.labels import Labels, format_value
from lightning_colorize.sweeps.spec import Metric
from lightning_colorize.sweeps.status import (
    CONFIDENCE,
    SEED,
    LeaderboardEntry,
    TrialRow,
    best,
    leaderboard,
    not_beaten,
    read_baselines,
    rows,
)
from lightning_colorize.sweeps.storage import silence
from lightning_colorize.sweeps.study import SWEEP_FILE, Study

REPORT = "report.html"
"""The file's name in a sweep's folder."""

_DRAWN_WITH = ("lightning-colorize", "optuna", "plotly")
_STATES = ("finished", "pruned", "failed", "running", "waiting")


def write_report(
    study: Study, path: Path | None = None, photographs: Sequence[Photograph] = ()
) -> Path:
    """Write the report of a study as it is now; what was there is replaced.

    Args:
        study: Whose trials.
        path: The file; by default `report.html` in the sweep's folder.
        photographs: Coloured by `best_trials`; none for a report without images.

    Returns:
        The file.

    Raises:
        UsageError: If it cannot be written.
    """
    path = path or study.folder / REPORT
    require_writable(path, "the report")
    write_atomic(path, _render(_context(study, photographs)))
    return path


def _context(study: Study, photographs: Sequence[Photograph]) -> dict[str, Any]:
    silence()
    sweep, table = study.sweep, rows(study)
    labels, facts = Labels(sweep), read_facts(table)
    metric = sweep.metric
    places = [] if metric is None else leaderboard(table, metric.goal)
    won = places[0].trials[0] if places else None
    charts: list[Chart] = []
    if metric is not None:
        charts = draw_charts(
            plain_study(table, sweep, metric, labels), metric, won.number if won else None
        )
    baselines = read_baselines(places[0], metric) if metric and places else {}
    # In a leaderboard, seeds stand by the trials.
    names = [name for name in labels.names if name != SEED or metric is None]
    page: dict[str, Any] = {
        "title": f"Sweep {sweep.name}",
        "about": _about(study, table),
        "metric": metric,
        "arrow": "" if metric is None else "↑" if metric.goal == "maximize" else "↓",
        "confidence": f"{100 * CONFIDENCE:g}",
        "parameters": [{"short": labels.names[name], "name": name} for name in names],
        "seed_column": SEED in labels.names and SEED not in names,
        "places": leaderboard_rows(places, names, labels, facts),
        "has_seeds": any(len(place.trials) + len(place.missing) > 1 for place in places),
        "plain": plain_rows(table, names, labels, facts) if metric is None else [],
        "singles": sum(len(place.trials) == 1 for place in places),
        "incomplete": sum(bool(place.missing) for place in places),
        "best_elsewhere": _best_elsewhere(places, table, metric),
        "baselines": baseline_rows(baselines),
        "not_beaten": not_beaten(places[0], metric, baselines) if metric and places else None,
        "has_notes": any(photograph.notes for photograph in photographs),
        "shown": legend(photographs, places, labels),
        "photographs": side_by_side(photographs, places),
        "charts": charts,
        "others": other_rows(table, labels, sweep.metric),
        "winner": None if won is None else _winner(study, won),
        "budgets": budget_rows(table, facts),
        "file": _sweep_file(study),
        "made_with": made_with(facts),
        "drawn_with": [(name, version(name)) for name in _DRAWN_WITH],
        "seed": study.seed,
        "place": study.shown,
    }
    page["sections"] = _sections(page)
    return page


def _render(page: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    folder = files(__package__) / "templates"
    css, js = (
        Markup((folder / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js")
    )
    figures = [figure for chart in page["charts"] for figure, _ in chart.figures]
    # Plotly has seen to it that no `</script>` in a value ends the script.
    data = Markup(f"[{','.join(figures)}]")
    plotly = Markup(get_plotlyjs()) if figures else None
    template = environment.get_template("page.html.jinja")
    return template.render(page=page, css=css, js=js, plotly=plotly, figures=data)


def _about(study: Study, table: Sequence[TrialRow]) -> str:
    sweep = study.sweep
    counts = {state: sum(row.state == state for row in table) for state in _STATES}
    said = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    trials = f"{len(table):,} trial{'' if len(table) == 1 else 's'}"
    return f"{trials}: {said or 'none yet'}. Method: {sweep.method}."


def _best_elsewhere(
    places: Sequence[LeaderboardEntry], table: Sequence[TrialRow], metric: Metric | None
) -> int | None:
    """Return the best trial of all if it is not of the best configuration."""
    first = None if metric is None else best(table, metric.goal)
    if first is None or first in [*places[0].trials, *places[0].repeats]:
        return None
    return first.number


def _winner(study: Study, row: TrialRow) -> dict[str, Any]:
    words = expand(study.sweep, row.values)
    if words[0] == "/usr/bin/env":
        del words[0]
    # Where this machine has its programs is of no use elsewhere.
    here = Path(sys.executable).parent
    words = [Path(word).name if Path(word).parent == here else word for word in words]
    return {
        "number": row.number,
        "value": format_value(row.value),
        "folder": str(row.folder),
        "command": shlex.join(words),
        "again": shlex.join(["lightning-colorize", "fit", "--config", str(row.folder / CONFIG)]),
        "configuration": read_configuration(row.folder),
    }


def _sweep_file(study: Study) -> str:
    try:
        return (study.folder / SWEEP_FILE).read_text(encoding="utf-8")
    except OSError:
        return yaml.safe_dump(study.sweep.source, sort_keys=False, allow_unicode=True)


def _sections(page: Mapping[str, Any]) -> list[tuple[str, str]]:
    every = [
        ("results", "Results", True),
        ("images", "Images", page["photographs"]),
        ("charts", "Charts", page["charts"]),
        ("others", "Not finished", page["others"]),
        ("winner", "Winner", page["winner"]),
        ("budgets", "Budgets", page["budgets"]),
        ("file", "Sweep file", True),
        ("method", "Method", True),
    ]
    return [(key, name) for key, name, there in every if there]
