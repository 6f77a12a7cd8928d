"""A CSV list of images."""

import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lightning_colorize.data.images import FileImages
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits, require_local
from lightning_colorize.data.sources.listing import listed_names
from lightning_colorize.data.splits import SPLIT_NAMES, split_of

_COLUMNS = "path,split or path,split,weight"


class ManifestSource(Source):
    """A CSV list of images; `data.root` is the file.

    The first line is `path,split` or `path,split,weight`. A path is absolute or relative to the
    file's folder, with forward slashes. A split is train, val (or valid, validation) or test. A
    weight says how often a training image is drawn, relative to the others (1 if the cell is
    empty); validation and test ignore it.

    Args:
        exclude_list: Leave out the images named in this text file, one path per line as in the CSV
            file. The list of `audit` and the `broken.txt` of a run are such files.
    """

    def __init__(self, exclude_list: Path | None = None) -> None:
        self.exclude_list = exclude_list

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
        rows = _read(manifest)
        excluded = listed_names(self.exclude_list, [row.path for row in rows], manifest)
        rows = [row for row in rows if row.path not in excluded]
        _require_files(manifest, rows)
        splits: Splits = {}
        for split in SPLIT_NAMES:
            own = [row for row in rows if row.split == split]
            weights = np.array([row.weight for row in own])
            weighted = split == "train" and bool((weights != 1).any())
            if weighted and weights.sum() == 0:
                raise SourceError(f"{manifest}: the weights of all training images are 0")
            if own:
                names = (row.path for row in own)
                splits[split] = FileImages(manifest.parent, names, weights if weighted else None)
        return splits


class _Row(NamedTuple):
    line: int
    path: str
    split: str
    weight: float


def _read(manifest: Path) -> list[_Row]:
    """Parse and validate the rows; the image files are not accessed."""
    rows: list[_Row] = []
    lines: dict[str, int] = {}
    try:
        # utf-8-sig: spreadsheets put a byte-order mark at the start.
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [cell.strip().lower() for cell in next(reader, [])]
            if header not in (["path", "split"], ["path", "split", "weight"]):
                raise SourceError(
                    f"{manifest}, line 1: the header must be {_COLUMNS}, not '{','.join(header)}'"
                    if header
                    else f"{manifest} is empty: its first line must be {_COLUMNS}"
                )
            for cells in reader:
                if any(cell.strip() for cell in cells):
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


def _row(where: str, line: int, cells: list[str]) -> _Row:
    if not 2 <= len(cells) <= 3:
        raise SourceError(f"{where}: {len(cells)} cells instead of {_COLUMNS}")
    path, named_split, named_weight = (*cells, "")[:3]
    split = split_of(named_split)
    if split is None:
        raise SourceError(f"{where}: the split '{named_split}' is none of {', '.join(SPLIT_NAMES)}")
    try:
        weight = float(named_weight.strip() or 1)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise SourceError(f"{where}: the weight '{named_weight}' must be a number of at least 0")
    return _Row(line, path.strip(), split, weight)


def _require_files(manifest: Path, rows: list[_Row]) -> None:
    missing = [row for row in rows if not os.path.isfile(manifest.parent / row.path)]
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise SourceError(
            f"{manifest}, line {missing[0].line}: there is no file "
            f"{manifest.parent / missing[0].path}{others}"
        )
