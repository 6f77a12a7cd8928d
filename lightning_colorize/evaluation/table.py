"""Tables of metrics: rounded, the best in bold."""

import math
from collections.abc import Mapping

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_colorize.metrics.spec import NAMES, format_metric, metric_goal


def metrics_table(
    rows: Mapping[str, Mapping[str, float | None]], title: str | None = None
) -> Table:
    """Return a table with a row for each network or baseline and a column for each metric.

    The best value of a column is bold if the metric has a goal; so are values that are equal to it
    after rounding.

    Args:
        rows: Metrics by row, under names without `val/`; unknown names are ignored. None and nan
            are shown as a dash.
        title: Heading of the column of names.
    """
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column(title or "", no_wrap=True)
    columns = [name for name in NAMES if any(name in row for row in rows.values())]
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    best = {
        name: _best(name, [row[name] for row in rows.values() if name in row]) for name in columns
    }
    for label, row in rows.items():
        cells = [_cell(name, row.get(name), best[name]) for name in columns]
        table.add_row(Text(label), *cells)
    return table


def print_plain(console: Console, table: Table) -> None:
    """Print a table; without lines and in full width off a terminal."""
    if not console.is_terminal:
        table.box = None
        console = Console(file=console.file, width=10_000)
    console.print(table)


def _best(name: str, values: list[float | None]) -> str | None:
    """Return the best value as it is shown; None if the metric has no goal."""
    goal = metric_goal(name)
    numbers = [value for value in values if value is not None and not math.isnan(value)]
    if goal is None or not numbers:
        return None
    return format_metric(name, max(numbers) if goal == "max" else min(numbers))


def _cell(name: str, value: float | None, best: str | None) -> Text:
    if value is None or math.isnan(value):
        return Text("-")
    shown = format_metric(name, value)
    return Text(shown, style="bold" if shown == best else "")
