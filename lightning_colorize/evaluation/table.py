"""Tables of metrics: rounded, the best in bold."""

import math
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_colorize.common.text import UNKNOWN, printable
from lightning_colorize.evaluation.measure import ColorFigures
from lightning_colorize.evaluation.measured import Rows
from lightning_colorize.evaluation.parts import Part
from lightning_colorize.metrics.spec import METRICS, SAMPLED, Metric


def metrics_table(
    rows: Mapping[str, Mapping[str, float | None]],
    title: str | None = None,
    metrics: Sequence[Metric] = METRICS,
) -> Table:
    """Return a table with a row for each network or baseline and a column for each metric.

    The best value of a column is bold if the metric has a goal, and so are ties after rounding.

    Args:
        rows: Metrics by row, under names without `val/`; None and nan are shown as a dash.
        title: Heading of the column of names.
        metrics: The columns; metrics that no row has are left out.
    """
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column(Text(printable(title or "")), no_wrap=True)
    columns = [metric for metric in metrics if any(metric.name in row for row in rows.values())]
    for metric in columns:
        table.add_column(metric.name, justify="right", no_wrap=True)
    best = [_best(metric, [row.get(metric.name) for row in rows.values()]) for metric in columns]
    for label, row in rows.items():
        values = zip(columns, best, strict=True)
        cells = [_cell(metric, row.get(metric.name), top) for metric, top in values]
        table.add_row(Text(label), *cells)
    return table


def print_metrics(
    console: Console, rows: Rows, title: str | None, metrics: Sequence[Metric]
) -> None:
    """Print `metrics_table`, with the metrics of samples in a second one."""
    for names, part in ((title, {*metrics} - {*SAMPLED}), ("samples", {*metrics} & {*SAMPLED})):
        if part:
            print_plain(console, metrics_table(rows, names, [m for m in metrics if m in part]))


def parts_table(parts: Sequence[Part], by: str) -> Table:
    """Return a table with a row for each range, at least one, of the true color."""
    table = Table(box=SIMPLE, pad_edge=False)
    first, *others = parts[0].rows
    heads = ("pixels", "chroma", "difference", "ciede2000", "95 % interval")
    table.add_column(by, no_wrap=True)
    table.add_column("range", no_wrap=True)
    for head in (*heads, *(f"of {name}" for name in others)):
        table.add_column(head, justify="right", no_wrap=True)
    for part in parts:
        error, change = (part.rows[first][name] for name in ("ciede2000", "chroma_difference"))
        table.add_row(
            part.name,
            part.range,
            f"{part.share:.1%}",
            _number(part.chroma),
            _number(change["value"], "{:+.1f}"),
            _number(error["value"]),
            f"{_number(error['low'])} to {_number(error['high'])}",
            *(_number(part.rows[name]["ciede2000"]["value"]) for name in others),
        )
    return table


def color_line(colors: ColorFigures) -> str:
    """Return the color statistics of a network as one line."""
    edges = colors.images_with_edges
    return (
        f"bleeding {_number(colors.bleeding)} LAB units ({edges:,} image{'s' * (edges != 1)} with "
        f"edges), color diversity {_number(colors.color_diversity, '{:.3f}')}"
    )


def _number(value: float | None, form: str = "{:.2f}") -> str:
    return UNKNOWN if value is None or math.isnan(value) else form.format(value)


def print_plain(console: Console, table: Table) -> None:
    """Print a table; if the output is not a terminal, without lines and at full width."""
    if not console.is_terminal:
        table.box = None
        console = Console(file=console.file, width=10_000)
    console.print(table)


def _best(metric: Metric, values: list[float | None]) -> str | None:
    """Return the best value as it is shown; None if the metric has no goal."""
    numbers = [value for value in values if value is not None and not math.isnan(value)]
    if metric.goal is None or not numbers:
        return None
    return metric.format.format(max(numbers) if metric.goal == "max" else min(numbers))


def _cell(metric: Metric, value: float | None, best: str | None) -> Text:
    shown = _number(value, metric.format)
    return Text(shown, style="bold" if shown == best else "")
