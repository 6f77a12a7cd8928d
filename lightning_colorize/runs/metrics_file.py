"""`metrics.csv` and `throughput.csv`: one row per step."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_colorize.common.files import write_atomic
from lightning_colorize.runs.folder import THROUGHPUT


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file as text by name, without empty cells and damaged rows."""
    text = path.read_text(encoding="utf-8", errors="replace")
    # A line without its end is being written, or was when the process or the machine went down.
    whole = io.StringIO(text[: text.rfind("\n") + 1])
    names = next(csv.reader(whole), [])
    rows = []
    for line in csv.DictReader(whole, names, quoting=csv.QUOTE_NONE):
        row: dict[str, Any] = {name: value for name, value in line.items() if value}
        # Surplus cells have no name; a power loss leaves NULs.
        if (
            None not in row
            and row.get("step", "").isdecimal()
            and "\0" not in "".join(row.values())
        ):
            rows.append(row)
    return rows


class MetricsFile:
    """A CSV file with one row per step, complete on disk after every update.

    A value that is logged twice for a step, as by a killed and resumed run, is written once: the
    later one. Columns have a fixed order, so that equal runs leave equal files.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self.path = path
        # The first columns, which are always present.
        self._first = ["step"] if path.name == THROUGHPUT else ["step", "epoch"]
        self._rows: dict[int, dict[str, Any]] = {}
        self._columns = self._first
        self._last_row_at = 0
        if path.is_file():
            self._load(resume_step)

    def update(self, step: int | None, metrics: Mapping[str, Any]) -> None:
        """Add metrics to the row of a step; without a step, to the last row."""
        last = max(self._rows, default=-1)
        step = max(last, 0) if step is None else step
        row = self._rows.setdefault(step, {"step": step})
        row |= metrics
        if step < last or not row.keys() <= set(self._columns) or not self._last_row_at:
            self._write_all()
        else:
            self._write_last(row, is_new=step > last)

    def _load(self, resume_step: int | None) -> None:
        for row in read_rows(self.path):
            step = int(row["step"])
            if resume_step is None or step < resume_step:
                self._rows[step] = row
        self._write_all()

    def _write_all(self) -> None:
        names = {name for row in self._rows.values() for name in row}
        self._columns = [*self._first, *sorted(names - set(self._first))]
        rows = [self._line(self._rows[step]) for step in sorted(self._rows)]
        text = self._line(dict(zip(self._columns, self._columns, strict=True))) + "".join(rows)
        write_atomic(self.path, text)
        self._last_row_at = len(text.encode()) - len(rows[-1].encode()) if rows else 0

    def _write_last(self, row: dict[str, Any], *, is_new: bool) -> None:
        with self.path.open("r+b") as file:
            self._last_row_at = file.seek(0, io.SEEK_END) if is_new else self._last_row_at
            file.seek(self._last_row_at)
            file.write(self._line(row).encode())
            file.truncate()

    def _line(self, row: dict[str, Any]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerow(row)
        return text.getvalue()
