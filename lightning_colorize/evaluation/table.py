"""Tables as data: a terminal prints them, the template of pages and `markdown` write them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.box import SIMPLE
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from lightning_colorize.common.text import UNKNOWN, printable
from lightning_colorize.metrics.spec import METRICS, SAMPLED, Goal, Metric

_NARROWEST = 10  # characters of a text on a narrow terminal
_ARROWS = {"max": "↑", "min": "↓", None: ""}


class Column(NamedTuple):
    """A column."""

    name: str
    help: str = ""  # Tooltip of the heading.
    goal: Goal | None = None
    text: bool = False  # Whether the column is aligned left.

    @property
    def arrow(self) -> str:
        """The goal as an arrow."""
        return _ARROWS[self.goal]

    @classmethod
    def of(cls, metric: Metric) -> "Column":
        """Return the column of a metric."""
        return cls(metric.name, metric.full_help, metric.goal)


class Cell(NamedTuple):
    """A cell with more than a text."""

    text: str
    notes: Sequence[str] = ()  # Small lines below the text.
    kind: str = ""  # CSS classes of the cell; `best` is bold.
    note_kind: str = ""  # CSS classes of the notes.
    value: float | None = None  # Sort key; None sorts last.
    style: str = ""  # CSS classes of a color swatch before the text.
    span: int = 1


class Row(NamedTuple):
    """A row; its first cell is its heading."""

    cells: Sequence[Cell]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table, with rows below it; `label` names it for screen readers."""

    label: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    foot: Sequence[Row] = ()
    sortable: bool = False

    def __rich__(self) -> RichTable:
        table = RichTable(box=SIMPLE, pad_edge=False)
        rows = [*self.rows, *self.foot]
        for index, column in enumerate(self.columns):
            texts = [row.cells[index].text for row in rows if index < len(row.cells)]
            longest = max(map(cell_len, [column.name, *texts]))
            # On a narrow terminal, texts wrap and numbers are whole.
            table.add_column(
                Text(printable(column.name)),
                justify="left" if column.text else "right",
                overflow="fold",
                min_width=min(longest, _NARROWEST) if column.text else longest,
            )
        for row in rows:
            bold = ["bold" if cell.kind == "best" else "" for cell in row.cells]
            table.add_row(*(Text(c.text, style) for c, style in zip(row.cells, bold, strict=True)))
        return table

    def markdown(self) -> list[str]:
        """Return the table as lines of Markdown, with notes in parentheses."""
        rule = " | ".join("---" if column.text else "---:" for column in self.columns)
        texts = [[column.name for column in self.columns]]
        for row in (*self.rows, *self.foot):
            texts.append([" ".join([c.text, *map("({})".format, c.notes)]) for c in row.cells])
        head, *rows = (f"| {' | '.join(map(markdown_text, each))} |" for each in texts)
        return [head, f"| {rule} |", *rows]


def make_row(*cells: Cell | str, kind: str = "") -> Row:
    """Return a row of cells, some of them plain text."""
    return Row([Cell(cell) if isinstance(cell, str) else cell for cell in cells], kind)


def markdown_text(text: str) -> str:
    """Return third-party text in one line, without links, images and HTML."""
    escaped = re.sub(r"([\\`*_\[\]|!#~])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def format_count(count: int | None) -> str:
    """Return a number with thousands separators, or a dash for None."""
    return UNKNOWN if count is None else f"{count:,}"


def format_number(form: str, value: float | None) -> str:
    """Return a number, without a sign if it rounds to 0; a dash for None and nan."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = form.format(value)
    return text.lstrip("-") if not text.strip("-0.") else text


def metric_cells(
    rows: Sequence[Mapping[str, float | None]], metrics: Sequence[Metric], ranked: int | None = None
) -> list[list[Cell]]:
    """Return the cells of rows of metrics by name; the best of the first `ranked` rows is bold.

    Ties after rounding are bold too; a metric without a goal has no best value.
    """
    table = [[_cell(metric, row.get(metric.name)) for metric in metrics] for row in rows]
    for column, metric in enumerate(metrics):
        cells = [row[column] for row in table[:ranked]]
        known = [cell for cell in cells if cell.value is not None]
        if metric.goal is None or not known:
            continue
        best = (max if metric.goal == "max" else min)(known, key=lambda cell: cell.value or 0.0)
        for row in table[:ranked]:
            if row[column].text == best.text:
                row[column] = row[column]._replace(kind="best")
    return table


def metrics_table(
    rows: Mapping[str, Mapping[str, float | None]],
    title: str | None = None,
    metrics: Sequence[Metric] = METRICS,
) -> Table:
    """Return a table with a row for each network or baseline and a column for each metric.

    `rows` are metrics under names without `val/`; None and nan are shown as a dash. `title` is the
    heading of the column of names. Columns are the `metrics` that any row has.
    """
    shown = [metric for metric in metrics if any(metric.name in row for row in rows.values())]
    cells = metric_cells(list(rows.values()), shown)
    body = [make_row(name, *row) for name, row in zip(rows, cells, strict=True)]
    return Table("Metrics", [Column(title or "", text=True), *map(Column.of, shown)], body)


def print_metrics(
    rows: Mapping[str, Mapping[str, float]], title: str | None, metrics: Sequence[Metric]
) -> None:
    """Print `metrics_table`, with the metrics of samples in a second one."""
    others = [metric for metric in metrics if metric not in SAMPLED]
    print_plain(metrics_table(rows, title, others))
    if sampled := [metric for metric in metrics if metric in SAMPLED]:
        print_plain(metrics_table(rows, "samples", sampled))


def print_plain(table: Table, console: Console | None = None) -> None:
    """Print a table; if the output is not a terminal, without lines and at full width."""
    rich, console = table.__rich__(), console or Console()
    if not console.is_terminal:
        rich.box = None
        console = Console(file=console.file, width=10_000)
    # A table that needs more than the terminal has is wrapped by the terminal, not cut.
    least = Measurement.get(console, console.options.update(width=10_000), rich).minimum
    console.print(rich, width=max(console.width, least), crop=False)


def _cell(metric: Metric, value: float | None) -> Cell:
    known = value if value is not None and math.isfinite(value) else None
    return Cell(format_number(metric.format, known), value=known)
