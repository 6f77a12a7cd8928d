"""User conditions of each image: from options, a folder of hints, and a file of rows."""

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from os.path import splitext
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.inference.jobs import JobPlan
from lightning_colorize.models.control import Control, parse_palette

_COLUMNS = ("image", "hints", "palette", "label", "prompt")


def add_controls(
    plan: JobPlan,
    common: Control,
    samples: int | None = None,
    hints: Path | None = None,
    file: Path | None = None,
) -> JobPlan:
    """Return the plan with a number of samples, and a control for each image.

    Args:
        plan: The images.
        common: Control of all images.
        samples: Number of numbered files for each image; None for one without a number.
        hints: A folder with hints for some images, with the same sub-folder and name except for the
            suffix; for one image also a file.
        file: CSV or JSON lines with the column `image` and others, which replace the common control
            of this image. Files are relative to its folder.

    Raises:
        UsageError: If no image has hints, hints are images of the plan, a file cannot be read, a
            column is unknown, or a row's image is not in the plan.
    """
    drawn = {} if hints is None else _find_hints(hints, plan)
    rows = {} if file is None else _read_rows(file)
    sources = [os.path.realpath(job.source) if drawn or rows else "" for job in plan.jobs]
    named = [row["hints"] for row in rows.values() if "hints" in row]
    for option, paths in ((f"--hints {hints}", drawn.values()), (f"--controls {file}", named)):
        if inside := {*map(os.path.realpath, paths)}.intersection(sources):
            raise UsageError(
                f"{option}: {min(inside)} is inside INPUT and would be colorized; move it"
            )
    if unknown := rows.keys() - set(sources):
        raise UsageError(f"--controls {file}: {min(unknown)} is not an image of INPUT")
    jobs = []
    for job, source in zip(plan.jobs, sources, strict=True):
        own: dict[str, Any] = {"hints": drawn[job.source]} if job.source in drawn else {}
        own |= rows.get(source, {})
        control = replace(common, **own) if own else common
        jobs.append(job._replace(control=control, samples=samples))
    return plan._replace(jobs=jobs)


def _find_hints(hints: Path, plan: JobPlan) -> dict[Path, Path]:
    """Return the hints of each image."""
    if len(plan.jobs) == 1 and hints.is_file():
        return {plan.jobs[0].source: hints}
    if not hints.exists():
        raise UsageError(f"--hints {hints} does not exist")
    if not hints.is_dir():
        raise UsageError(f"--hints {hints} is not a folder; for one image, give a file or a folder")
    # PNG if there are several of the same name.
    names = sorted(list_images(hints), key=lambda name: name.lower().endswith(".png"))
    files = {splitext(name)[0]: hints / name for name in names}
    found = {}
    for job in plan.jobs:
        folder = "" if plan.folder is None else os.path.relpath(job.target.parent, plan.folder)
        name = Path(folder, job.source.stem).as_posix()
        if name in files:
            found[job.source] = files[name]
    if not found:
        raise UsageError(f"--hints {hints} has no image named as one of INPUT, such as {name}.png")
    return found


def _read_rows(file: Path) -> dict[str, dict[str, Any]]:
    """Return the conditions of each image, by its real path."""
    found: dict[str, dict[str, Any]] = {}
    is_csv = file.suffix.lower() == ".csv"
    palette = cache(partial(parse_palette, folder=file.parent))
    convert: dict[str, Any] = {"hints": file.parent.joinpath, "palette": palette}
    number = 0
    try:
        # utf-8-sig: spreadsheets put a byte-order mark at the start.
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows: Iterable[Any] = csv.DictReader(opened, restkey="beyond the header")
            for row in rows if is_csv else filter(str.strip, opened):
                number += 1
                given = _named_cells(row if is_csv else json.loads(row))
                image = os.path.realpath(file.parent / given.pop("image"))
                if image in found:
                    raise UsageError(f"{image} is in a row above already")
                for name in given.keys() & convert.keys():
                    given[name] = convert[name](given[name])
                found[image] = given
    except OSError as error:
        raise UsageError(f"--controls {file} cannot be read: {error.strerror}") from None
    except (ValueError, csv.Error) as error:
        kind = "CSV" if is_csv else "JSON lines, as its name does not end with .csv"
        raise UsageError(f"{file}, row {number}, of {kind}: {first_line(error)}") from None
    if not found:
        raise UsageError(f"--controls {file} has no rows")
    return found


def _named_cells(row: Any) -> dict[str, Any]:
    """Return the cells of a row that are not empty."""
    cells = row if isinstance(row, dict) else {str(row): ""}
    if unknown := cells.keys() - set(_COLUMNS):
        raise UsageError(f"unknown column {min(unknown)}; the columns are {', '.join(_COLUMNS)}")
    given = {name: text for name in cells if (text := str(cells[name] or "").strip())}
    if "image" not in given:
        raise UsageError("the column image is empty")
    return given
