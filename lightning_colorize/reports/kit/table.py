"""Tables as data; the template's `table` macro writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lightning_colorize.common.text import UNKNOWN
from lightning_colorize.metrics.spec import Goal

_ARROWS = {"max": "↑", "min": "↓", None: ""}


class Column(NamedTuple):
    """A column.

    Attributes:
        name: The heading.
        help: Tooltip of the heading.
        goal: Whether larger (`max`) or smaller values are better.
        text: Whether the heading is aligned left; a first column of names is never narrow.
    """

    name: str
    help: str = ""
    goal: Goal | None = None
    text: bool = False

    @property
    def arrow(self) -> str:
        """The goal as an arrow."""
        return _ARROWS[self.goal]


class Cell(NamedTuple):
    """A cell with more than a text.

    Attributes:
        text: The content.
        notes: Small lines below it.
        kind: CSS classes of the cell.
        note_kind: CSS classes of the notes.
        value: Sort key; None sorts last.
        style: CSS classes of a color swatch before the text.
        span: Number of columns.
    """

    text: str
    notes: Sequence[str] = ()
    kind: str = ""
    note_kind: str = ""
    value: float | None = None
    style: str = ""
    span: int = 1


class Row(NamedTuple):
    """A row; its first cell is its heading."""

    cells: Sequence[Cell]
    kind: str = ""


def make_row(*cells: Cell | str, kind: str = "") -> Row:
    """Return a row of cells, some of them plain text."""
    return Row([Cell(cell) if isinstance(cell, str) else cell for cell in cells], kind)


@dataclass(frozen=True)
class Table:
    """A table, with rows below it; `label` names it for screen readers."""

    label: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    foot: Sequence[Row] = ()
    sortable: bool = False


def format_count(count: int | None) -> str:
    """Return a number with thousands separators, or a dash for None."""
    return UNKNOWN if count is None else f"{count:,}"
