"""Tables as data; the template's `table` macro writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lightning_colorize.common.text import UNKNOWN
from lightning_colorize.metrics.spec import Goal

_ARROWS = {"max": "↑", "min": "↓", None: ""}


class Column(NamedTuple):
    """A column."""

    name: str
    help: str = ""  # Tooltip of the heading.
    goal: Goal | None = None
    # Whether the heading is aligned left; a first column of names is never narrow.
    text: bool = False

    @property
    def arrow(self) -> str:
        """The goal as an arrow."""
        return _ARROWS[self.goal]


class Cell(NamedTuple):
    """A cell with more than a text."""

    text: str
    notes: Sequence[str] = ()  # Small lines below the text.
    kind: str = ""  # CSS classes of the cell.
    note_kind: str = ""  # CSS classes of the notes.
    value: float | None = None  # Sort key; None sorts last.
    style: str = ""  # CSS classes of a color swatch before the text.
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
