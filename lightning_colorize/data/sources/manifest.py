"""A CSV list of images."""

import csv
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lightning_colorize.common.processes import is_first_process
from lightning_colorize.data.image_set import FileImages, NameList, Notes
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits, require_local
from lightning_colorize.data.sources.listing import listed_names
from lightning_colorize.data.splits import SPLIT_NAMES, split_of


class ManifestSource(Source):
    """A CSV list of images; `data.root` is the file.

    The first line is `path,split` or `path,split,weight`, plus the columns that `label` and `text`
    name; others are ignored. A path is absolute or relative to the file's folder, with forward
    slashes. A split is train, val (or valid, validation) or test. A weight says how often a
    training image is drawn, relative to the others (1 if the cell is empty); validation and test
    ignore it.

    Args:
        exclude_list: Text file of paths to leave out, one per line as in the CSV file, such as the
            list of `audit` or a run's `broken.txt`.
        label: The column with each image's class; empty cells are allowed.
        text: The column with a text for each image; empty cells are allowed.
    """

    def __init__(
        self, exclude_list: Path | None = None, label: str | None = None, text: str | None = None
    ) -> None:
        self.exclude_list = exclude_list
        self.label = None if label is None else label.strip().lower()
        self.text = None if text is None else text.strip().lower()

    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split; names are the paths of the list.

        Raises:
            SourceError: If the file is missing, empty or invalid, with the line's number; or if
                `exclude_list` names other images.
        """
        needed = "a CSV file: pass --data.root FILE.csv"
        manifest = require_local(root, "ManifestSource", needed)
        if manifest.is_dir():
            raise SourceError(
                f"{manifest} is a folder, ManifestSource needs a CSV file: pass --data.root "
                f"{manifest / 'FILE.csv'}, or use FolderSource"
            )
        columns = [self.label, self.text]
        rows = _read(manifest, [column for column in columns if column is not None])
        excluded = listed_names(self.exclude_list, [row.path for row in rows], manifest)
        rows = [row for row in rows if row.path not in excluded]
        _require_files(manifest, rows)
        splits: Splits = {}
        for split in SPLIT_NAMES:
            own = [row for row in rows if row.split == split]
            weights = np.array([row.weight for row in own])
            weighted = split == "train" and bool((weights != 1).any())
            if weighted and not 0 < (total := weights.sum()) < np.inf:
                raise SourceError(f"{manifest}: the weights of all training images sum to {total}")
            if own:
                names = (row.path for row in own)
                notes = (c if c is None else NameList(row.cells[c] for row in own) for c in columns)
                splits[split] = FileImages(
                    manifest.parent, names, weights if weighted else None, notes=Notes(*notes)
                )
        return splits


class _Row(NamedTuple):
    line: int
    path: str
    split: str
    weight: float
    cells: dict[str, str]


def _read(manifest: Path, columns: list[str]) -> list[_Row]:
    """Parse and validate the rows; the image files are not accessed."""
    rows: list[_Row] = []
    lines: dict[str, int] = {}
    try:
        # utf-8-sig: spreadsheets put a byte-order mark at the start.
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            header = [cell.strip().lower() for cell in reader.fieldnames or []]
            _require_header(manifest, header, columns)
            reader.fieldnames = header
            for cells in reader:
                if any(map(str.strip, map(str, cells.values()))):
                    row = _row(f"{manifest}, line {reader.line_num}", reader.line_num, cells)
                    # One file can be written in several ways: a.jpg, ./a.jpg, /photos/a.jpg.
                    path = os.path.abspath(manifest.parent / row.path)
                    first = lines.setdefault(path, row.line)
                    if first != row.line:
                        raise SourceError(
                            f"{manifest}, line {row.line}: {row.path} is in line {first} already"
                        )
                    rows.append(row)
    except OSError as error:
        raise SourceError(f"{manifest} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{manifest} is not a CSV file in UTF-8: {error}") from error
    if not rows:
        raise SourceError(f"{manifest} has a header and no images: add a line for each")
    return rows


def _require_header(manifest: Path, header: list[str], columns: list[str]) -> None:
    """Require path and split, then the columns and perhaps others, each once."""
    needed = ",".join(dict.fromkeys(["path", "split", *columns]))
    missing = {*columns} - {*header}
    if header[:2] != ["path", "split"] or missing or len({*header}) < len(header):
        raise SourceError(
            f"{manifest}, line 1: the header must be {needed}[,weight], not '{','.join(header)}'"
            if header
            else f"{manifest} is empty: its first line must be {needed}[,weight]"
        )
    others = [column for column in header[2:] if column not in ("weight", *columns)]
    if others and is_first_process():
        print(f"{manifest}: ignored columns: {', '.join(others)}", file=sys.stderr)


def _row(where: str, line: int, cells: dict[str, str]) -> _Row:
    if "" in cells:
        raise SourceError(f"{where}: more cells than in the header")
    if "\0" in "".join(cells.values()):
        raise SourceError(f"{where}: a cell contains a NUL character")
    cells = {column: cell.strip() for column, cell in cells.items()}
    split = split_of(cells["split"])
    if split is None:
        raise SourceError(
            f"{where}: the split '{cells['split']}' is none of {', '.join(SPLIT_NAMES)}"
        )
    written = cells.get("weight", "")
    try:
        weight = float(written or 1)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise SourceError(f"{where}: the weight '{written}' must be a number of at least 0")
    return _Row(line, cells["path"], split, weight, cells)


def _require_files(manifest: Path, rows: list[_Row]) -> None:
    missing = [row for row in rows if not os.path.isfile(manifest.parent / row.path)]
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise SourceError(
            f"{manifest}, line {missing[0].line}: file not found: "
            f"{manifest.parent / missing[0].path}{others}"
        )
