"""The page of a grid of settings: how faithful and how colorful each one is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_colorize.common.files import write_atomic
from lightning_colorize.evaluation.grid import Grid
from lightning_colorize.evaluation.table import Cell, Column, Row, Table, make_row, metric_cells
from lightning_colorize.metrics.spec import METRICS
from lightning_colorize.models.settings import describe_values, format_value
from lightning_colorize.reports.kit.charts import ACCENT, MUTED, Figure, make_figure
from lightning_colorize.reports.kit.html import Section, render_sections

_X, _Y = "colorfulness_ratio", "ciede2000"

_ABOUT = (
    "Each dot is one setting, measured without another training. The line connects the settings "
    "that no other one beats: none is better in CIEDE2000 or in colorfulness without being worse "
    "in the other."
)


def write_grid_page(file: Path, grid: Grid, title: str, lead: str) -> None:
    """Write one HTML file with a chart and a table of all settings."""
    front = Section("front", "Faithful or colorful", _ABOUT, _figure(grid))
    settings = Section("settings", "Settings", table=_table(grid))
    write_atomic(file, render_sections(title, lead, [front, settings]))


def _figure(grid: Grid) -> Figure:
    front = grid.front()
    others = [i for i in range(len(grid.settings)) if i not in front]
    data = [
        _trace(grid, "other settings", others, mode="markers", color=MUTED),
        _trace(grid, "not beaten by any", front, mode="lines+markers", color=ACCENT),
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [row[_X] for row in grid.baselines.values()],
            "y": [row[_Y] for row in grid.baselines.values()],
            "text": [*grid.baselines],
            "textposition": "top center",
            "marker": {"symbol": "x", "color": MUTED},
            "showlegend": False,
        },
    ]
    return make_figure(
        data,
        f"{_Y} against {_X}; low and near a ratio of 1 is better",
        xaxis={"title": {"text": _X}},
        yaxis={"title": {"text": _Y}},
        height=420,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )


def _trace(grid: Grid, name: str, members: Sequence[int], mode: str, color: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": name,
        "mode": mode,
        "x": [grid.rows[i][_X] for i in members],
        "y": [grid.rows[i][_Y] for i in members],
        "text": [describe_values(grid.settings[i]) for i in members],
        "hovertemplate": "%{text}<br>%{x:.3f}, %{y:.2f}<extra></extra>",
        "marker": {"color": color, "size": 8},
        "line": {"color": color},
    }


def _table(grid: Grid) -> Table:
    keys = list(grid.settings[0])
    front = set(grid.front())
    cells = metric_cells([*grid.rows, *grid.baselines.values()], METRICS, 0)
    rows = []
    for index, setting in enumerate(grid.settings):
        values = [Cell(format_value(value), value=value) for value in setting.values()]
        rows.append(Row([*values, *cells[index]], kind="best" if index in front else ""))
    baselines = zip(grid.baselines, cells[len(rows) :], strict=True)
    foot = [make_row(name, *[""] * (len(keys) - 1), *row) for name, row in baselines]
    columns = [*map(Column, keys), *map(Column.of, METRICS)]
    return Table("Settings", columns, rows, foot, sortable=True)
