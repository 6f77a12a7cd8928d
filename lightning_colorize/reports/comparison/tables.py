"""The tables and interval charts of a comparison."""

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_colorize.common.text import UNKNOWN, format_time, without_folders
from lightning_colorize.evaluation.statistics import Difference
from lightning_colorize.evaluation.systems import System
from lightning_colorize.evaluation.table import (
    Cell,
    Column,
    Table,
    format_count,
    format_number,
    make_row,
    metric_cells,
)
from lightning_colorize.metrics.spec import Metric
from lightning_colorize.reports.comparison.report import Report
from lightning_colorize.reports.kit.charts import Figure, Interval, interval_figure, style_class
from lightning_colorize.runs.record import RunRecord

MINUS = "\N{MINUS SIGN}"

_MANY = 1_000_000


def differences_table(report: Report) -> Table | None:
    """Return the table of metrics, with differences from the first system; None without truth."""
    if report.metrics is None:
        return None
    count = len(report.results.systems)
    table = metric_cells(list(report.rows.values()), report.columns, count if count > 1 else 0)
    rows = []
    for index, (name, cells) in enumerate(zip(report.results.rows, table, strict=True)):
        for column in range(len(cells)) if index else ():
            notes, verdict = _difference(report, index, column)
            if needed := report.differences[index][column].images_needed:
                notes.append(f"needs {_about(needed)} images")
            cells[column] = cells[column]._replace(notes=notes, note_kind=verdict)
        if index < count:
            head = Cell(name, [] if index else ["reference"], style=style_class(index))
            rows.append(make_row(head, *cells))
        else:
            rows.append(make_row(Cell(name, ["baseline"]), *cells, kind="baseline"))
    columns = [Column("system", text=True), *map(Column.of, report.columns)]
    return Table("Metrics", columns, rows, sortable=True)


def interval_figures(report: Report) -> list[tuple[str, Figure]]:
    """Return, for each metric, its name and the chart of differences from the first system."""
    figures = []
    first, *others = report.results.systems
    for column, metric in enumerate(report.columns if report.metrics is not None else ()):
        # The chart of its ratio is the same at another scale.
        if any(metric.name in other.columns for other in report.columns):
            continue
        rows = []
        for index, name in enumerate(others, start=1):
            of = report.differences[index][column]
            if np.isfinite(of.value):
                notes, verdict = _difference(report, index, column)
                rows.append(Interval(name, of.value, of.low, of.high, " ".join(notes), verdict))
        if rows:
            values = "; ".join(f"{row.name} {row.text}" for row in rows)
            label = f"{metric.name}, difference from {first}: {values}"
            figures.append(
                (f"{metric.name} {Column.of(metric).arrow}", interval_figure(rows, label))
            )
    return figures


def seeds_table(report: Report) -> Table | None:
    """Return mean and standard deviation over runs that differ only in their seed."""
    rows = [
        make_row(
            ", ".join(report.results.systems[i] for i in group.members),
            str(len(group.seeds)),
            ", ".join(group.seeds),
            *(
                f"{_rounded(metric, mean)} ± {_rounded(metric, spread)}"
                for metric, (mean, spread) in zip(report.columns, spreads, strict=True)
            ),
        )
        for group, spreads in report.seeds
    ]
    heads = [Column("runs", text=True), Column("n"), Column("seeds")]
    columns = [*heads, *map(Column.of, report.columns)]
    return Table("Metrics over seeds", columns, rows) if rows else None


def budgets_table(systems: Sequence[System]) -> Table | None:
    """Return the training cost of each system; None if no system has a run folder."""
    if not any(system.run for system in systems):
        return None
    rows = []
    for index, system in enumerate(systems):
        result = None if system.run is None else RunRecord(system.run).result
        if result is not None:
            cells = [
                format_count(result.images_seen),
                format_time(result.seconds),
                format_count(result.parameters),
                format_count(result.epochs),
                result.status.replace("_", " "),
            ]
        else:
            cells = [*[UNKNOWN] * 4, "no result" if system.run else "no run folder"]
        rows.append(make_row(Cell(system.name, style=style_class(index)), *cells))
    names = ("images seen", "training time", "parameters", "epochs", "status")
    return Table("Budgets", [Column("system", text=True), *map(Column, names)], rows)


def settings_table(
    settings: Mapping[str, Sequence[str | None]], systems: Sequence[System]
) -> Table | None:
    """Return the settings that differ, by dotted name; None for fewer than two runs."""
    runs = [system.name for system in systems if system.run]
    rows = [
        make_row(
            key,
            *(
                Cell(
                    without_folders(value or UNKNOWN),
                    kind="setting" + " changed" * (value != values[0]),
                )
                for value in values
            ),
        )
        for key, values in settings.items()
    ]
    columns = [Column("key", text=True), *(Column(name, text=True) for name in runs)]
    return Table("Settings", columns, rows) if len(runs) > 1 else None


def _difference(report: Report, row: int, column: int) -> tuple[list[str], str]:
    """Return a difference from the first row, its interval if it has one, and the verdict."""
    difference, metric = report.differences[row][column], report.columns[column]
    notes = [_signed(metric, difference.value)]
    if difference.low is not None and difference.high is not None:
        ends = (_signed(metric, end) for end in (difference.low, difference.high))
        notes.append(f"[{', '.join(ends)}]")
    return notes, _verdict(difference, metric)


def _about(count: int) -> str:
    """Return a number of images with two significant digits; more would be false precision."""
    return f"{round(count, 2 - len(str(count))):,}" if count < _MANY else f"over {_MANY:,}"


def _verdict(difference: Difference, metric: Metric) -> str:
    if not difference.clear:
        return "unclear"
    if metric.goal is None:
        return "other"
    return "better" if (difference.value > 0) == (metric.goal == "max") else "worse"


def _rounded(metric: Metric, value: float) -> str:
    return format_number(metric.format, value)


def _signed(metric: Metric, value: float) -> str:
    text = format_number(metric.format, value)
    positive = value > 0 and float(text) != 0
    return ("+" if positive else "") + text.replace("-", MINUS)
