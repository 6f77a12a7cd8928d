"""Which columns of a table a terminal has room for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

GAP = 2
"""Blanks between two columns."""

LEFT_OUT = "…"
"""The heading of the column that stands for those that are left out."""

# Cut to that many characters, most names can still be told apart.
_READABLE = 10


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: Its heading.
        cells: What stands below, one a row.
        justify: Numbers stand to the right.
        shrinks: Whether it gives way where the terminal is narrow.
    """

    head: str
    cells: Sequence[str]
    justify: Literal["left", "right"] = "left"
    shrinks: bool = False

    @property
    def width(self) -> int:
        """How wide it is, with the gap beside it."""
        return GAP + max(map(cell_len, [self.head, *self.cells]))

    @property
    def least(self) -> int:
        """How wide it must be to say something."""
        return min(self.width, GAP + _READABLE) if self.shrinks else self.width


def those_that_fit(columns: Sequence[Column], room: int) -> list[Column]:
    """Return columns for which there is room, in their order: what differs most between rows first.

    Args:
        columns: As many cells in each.
        room: How wide they may be together.

    Returns:
        At least one. They may have to shrink, and the last one says if some are left out.
    """
    if sum(column.least for column in columns) <= room:
        return list(columns)
    mark = Column(LEFT_OUT, [""] * len(columns[0].cells))
    left = room - mark.width
    chosen: list[int] = []
    by_use = sorted(range(len(columns)), key=lambda index: -len(set(columns[index].cells)))
    for index in by_use:
        if not chosen or columns[index].least <= left:
            chosen.append(index)
            left -= columns[index].least
    marks = [mark] if len(chosen) < len(columns) else []
    return [*(columns[index] for index in sorted(chosen)), *marks]
