"""The numbers of a comparison, for the page, the terminal and JSON, and their tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from lightning_colorize.common.text import UNKNOWN, format_time, without_folders
from lightning_colorize.evaluation.evaluator import Results
from lightning_colorize.evaluation.failures import FAILURES
from lightning_colorize.evaluation.statistics import Difference, differences_from_first
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
from lightning_colorize.metrics.spec import COLUMNS, CONFIDENCE, Metric
from lightning_colorize.reports.kit.charts import Figure, Interval, interval_figure, style_class
from lightning_colorize.runs.record import RunRecord

_SEEDS = ("seed_everything", "data.seed")
_IDENTITY = ("run.name", "run.root", "run.loggers.")
"""Settings that name a run or its loggers, without effect on training."""

MINUS = "\N{MINUS SIGN}"

_MANY = 1_000_000


class SeedGroup(NamedTuple):
    """Systems that differ only in their seed, by index, with the seed of each."""

    members: list[int]
    seeds: list[str]


@dataclass(frozen=True)
class Report:
    """All numbers of a comparison."""

    results: Results
    # Differences from the first row, by row and metric; empty without truth.
    differences: list[list[Difference]]
    # Mean and standard deviation over the seeds in every metric; empty without truth.
    seeds: list[tuple[SeedGroup, list[list[float]]]]

    @property
    def columns(self) -> list[Metric]:
        """The metrics of `spec`, then the models' own."""
        return self.results.columns

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """Metrics by row; empty without truth."""
        return {} if self.results.values is None else self.results.table()

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, unrounded, for JSON."""
        results = self.results
        distances = zip(results.names, results.disagreement.tolist(), strict=True)
        numbers: dict[str, Any] = {"disagreement": dict(distances)}
        if results.values is None or results.failures is None:
            return numbers
        rows = results.rows
        columns = [metric.name for metric in self.columns]
        modes = [failure.name for failure in FAILURES]

        def by_image(keys: Sequence[str], table: np.ndarray) -> dict[str, dict[str, float]]:
            values = (dict(zip(keys, row, strict=True)) for row in table.T.tolist())
            return dict(zip(results.names, values, strict=True))

        return numbers | {
            "metrics": self.rows,
            # The intervals of all systems but the first hold jointly.
            "confidence": {"level": CONFIDENCE, "systems_together": len(results.systems) - 1},
            "differences": {
                name: dict(zip(columns, map(asdict, row), strict=True))
                for name, row in zip(rows, self.differences, strict=True)
            },
            "seeds": [
                {
                    "systems": [rows[i] for i in group.members],
                    "seeds": group.seeds,
                    "metrics": {
                        name: {"mean": mean, "spread": spread}
                        for name, (mean, spread) in zip(columns, spreads, strict=True)
                    },
                }
                for group, spreads in self.seeds
            ],
            "failures": {
                name: by_image(modes, table)
                for name, table in zip(results.systems, results.failures, strict=True)
            },
            "per_image": {
                name: by_image([*COLUMNS, *(each.name for each in results.more)], table)
                for name, table in zip(rows, results.values, strict=True)
            },
        }


def build_report(results: Results, systems: Sequence[System], seed: int) -> Report:
    """Compute means, intervals and spreads."""
    if results.values is None:
        return Report(results, [], [])
    metrics = results.metrics()
    differences = differences_from_first(results.values, seed, len(results.systems))
    for row, values in zip(differences, metrics - metrics[0], strict=True):
        row += [Difference(float(value)) for value in values[len(row) :]]
    seeds = []
    for group in group_seeds(systems):
        own = metrics[group.members]
        seeds.append((group, np.stack([own.mean(0), own.std(0, ddof=1)], axis=1).tolist()))
    return Report(results, differences, seeds)


def group_seeds(systems: Sequence[System]) -> list[SeedGroup]:
    """Group the systems that differ only in their seed.

    If several systems have the same seed (the same run or a repetition), only the first counts.
    """
    found: dict[str, dict[str, int]] = {}
    for index, system in enumerate(systems):
        if system.run is None or not (settings := RunRecord(system.run).settings):
            continue
        seeds = (str(settings[key]) for key in _SEEDS if settings.get(key) is not None)
        others = {
            key: value
            for key, value in settings.items()
            if key not in _SEEDS and not key.startswith(_IDENTITY)
        }
        key = json.dumps(others, sort_keys=True, default=str)
        found.setdefault(key, {}).setdefault(", ".join(dict.fromkeys(seeds)), index)
    return [SeedGroup([*each.values()], [*each]) for each in found.values() if len(each) > 1]


def differences_table(report: Report) -> Table | None:
    """Return the table of metrics, with differences from the first system; None without truth."""
    if not report.differences:
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
    for column, metric in enumerate(report.columns if report.differences else ()):
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
                " ± ".join(format_number(metric.format, value) for value in values)
                for metric, values in zip(report.columns, spreads, strict=True)
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
        cells = [*[UNKNOWN] * 4, "no result" if system.run else "no run folder"]
        if system.run is not None and (result := RunRecord(system.run).result) is not None:
            seen, *counts = map(
                format_count, (result.images_seen, result.parameters, result.epochs)
            )
            status = result.status.replace("_", " ")
            cells = [seen, format_time(result.seconds), *counts, status]
        rows.append(make_row(Cell(system.name, style=style_class(index)), *cells))
    names = ("images seen", "training time", "parameters", "epochs", "status")
    return Table("Budgets", [Column("system", text=True), *map(Column, names)], rows)


def settings_table(
    settings: Mapping[str, Sequence[str | None]], systems: Sequence[System]
) -> Table | None:
    """Return the settings that differ, by dotted name; None for fewer than two runs."""
    runs = [system.name for system in systems if system.run]
    rows = []
    for key, values in settings.items():
        kinds = ["setting" + " changed" * (value != values[0]) for value in values]
        texts = [without_folders(value or UNKNOWN) for value in values]
        rows.append(make_row(key, *(Cell(t, kind=k) for t, k in zip(texts, kinds, strict=True))))
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


def _signed(metric: Metric, value: float) -> str:
    text = format_number(metric.format, value)
    positive = value > 0 and float(text) != 0
    return ("+" if positive else "") + text.replace("-", MINUS)
