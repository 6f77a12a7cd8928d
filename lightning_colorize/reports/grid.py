"""The page of a grid of settings: how faithful and how colorful each one is."""

from collections.abc import Sequence
from pathlib import Path

from lightning_colorize.common.files import write_atomic
from lightning_colorize.evaluation.grid import Grid
from lightning_colorize.metrics.spec import METRICS
from lightning_colorize.models.settings import describe_values, format_value
from lightning_colorize.reports.kit.charts import ACCENT, MUTED, Figure, make_figure
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.kit.table import Cell, Column, Row, Table, make_row

_X, _Y = "colorfulness_ratio", "ciede2000"


def write_grid_page(file: Path, grid: Grid, title: str, lead: str) -> None:
    """Write one HTML file with a chart and a table of all settings."""
    page = {
        "title": title,
        "lead": lead,
        "columns": 1,
        "figure": _figure(grid),
        "table": _table(grid),
    }
    write_atomic(file, render("grid.html.jinja", "kit.css", "kit.js", page=page))


def _figure(grid: Grid) -> Figure:
    front = grid.front()
    others = [i for i in range(len(grid.settings)) if i not in front]
    data = [
        _trace(grid, "other settings", others, mode="markers", color=MUTED),
        _trace(grid, "not beaten by any", front, mode="lines+markers", color=ACCENT),
        *(
            {
                "type": "scatter",
                "name": name,
                "mode": "markers+text",
                "x": [row[_X]],
                "y": [row[_Y]],
                "text": [name],
                "textposition": "top center",
                "marker": {"symbol": "x", "color": MUTED},
                "showlegend": False,
            }
            for name, row in grid.baselines.items()
        ),
    ]
    return make_figure(
        data,
        f"{_Y} against {_X}; low and near a ratio of 1 is better",
        xaxis={"title": {"text": _X}},
        yaxis={"title": {"text": _Y}},
        height=420,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )


def _trace(
    grid: Grid, name: str, members: Sequence[int], *, mode: str, color: str
) -> dict[str, object]:
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
    columns = [Column(key) for key in keys]
    columns += [Column(metric.name, metric.full_help, metric.goal) for metric in METRICS]
    front = set(grid.front())
    rows = []
    for i, (setting, measured) in enumerate(zip(grid.settings, grid.rows, strict=True)):
        cells = [Cell(format_value(value), value=value) for value in setting.values()]
        rows.append(Row([*cells, *_cells(measured)], kind="best" if i in front else ""))
    foot = [
        make_row(name, *[""] * (len(keys) - 1), *_cells(measured))
        for name, measured in grid.baselines.items()
    ]
    return Table("Settings", columns, rows, foot, sortable=True)


def _cells(measured: dict[str, float]) -> list[Cell]:
    return [
        Cell(metric.format.format(measured[metric.name]), value=measured[metric.name])
        for metric in METRICS
    ]
