"""The jobs of a `colorize` call: input and output files, and the user conditions of each image."""

import csv
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from glob import glob
from os.path import splitext
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.common.text import printable
from lightning_colorize.data.decoding.files import IMAGE_SUFFIXES
from lightning_colorize.data.sources import SourceError
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.inference.reference import read_references
from lightning_colorize.inference.writing import WRITABLE
from lightning_colorize.models.control import NO_CONTROL, Control, parse_palette

Format = Literal["png", "jpg", "webp", "tiff", "same"]
_COLUMNS = ("image", "hints", "reference", "palette", "label", "prompt")  # of a `--controls` file

FILM_SUFFIXES = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
"""Lower-case suffixes of films."""


class Job(NamedTuple):
    """One image to colorize.

    Attributes:
        source: The file to read.
        target: The file to write; with samples, their common name without a number.
        control: What is asked of the colors.
        samples: Number of colorings, each in a numbered file; None for one without a number.
    """

    source: Path
    target: Path
    control: Control = NO_CONTROL
    samples: int | None = None

    @property
    def targets(self) -> list[Path]:
        """The files to write: `target`, or NAME_1.jpg, NAME_2.jpg, ..."""
        if self.samples is None:
            return [self.target]
        name, suffix = splitext(self.target)
        return [Path(f"{name}_{number}{suffix}") for number in range(1, self.samples + 1)]


class JobPlan(NamedTuple):
    """The work of a `colorize` call.

    Attributes:
        jobs: One job for each image, and for each folder that cannot be opened.
        folder: Folder of the manifest; None if the result is a single named file.
        others: Files in the folders that are not images, and hidden folders.
    """

    jobs: list[Job]
    folder: Path | None
    others: list[Path]

    def below(self, output: Path, name: str) -> "JobPlan":
        """Return the plan with its results in a folder `name` of the output; "" for no folder."""
        if not name:
            return self
        folder = output / name
        jobs = [job._replace(target=folder / job.target.relative_to(output)) for job in self.jobs]
        return self._replace(jobs=jobs, folder=folder)

    def part(self, limit: int | None, index: int, count: int) -> "JobPlan":
        """Return part `index` of `count`, from 1, of the first `limit` images."""
        return self._replace(
            jobs=self.jobs[:limit][index - 1 :: count], others=self.others[index - 1 :: count]
        )


def plan_jobs(inputs: Sequence[Path], output: Path, form: Format = "same") -> JobPlan:
    """Find the images and choose unique names for their results.

    Args:
        inputs: Images and folders, which are searched recursively; a name that does not exist may
            be a pattern, such as `scans/**/*.tif`.
        output: A folder; for a single image also a file name. The results keep the structure below
            the common parent folder of the inputs. Images found in the output are earlier results
            and are skipped, unless the searched folder or pattern is itself inside it.
        form: Format of the results; with "same" the image's own, or PNG if it cannot be written.

    Raises:
        UsageError: If the inputs contain no image, or the output is not a valid target.
    """
    if len(inputs) == 1 and inputs[0].is_file():
        return _plan_one(inputs[0], output, form)
    paths = [path for given in inputs for path in _expand(given, output)]
    if output.is_file() or (output.suffix.lower() in IMAGE_SUFFIXES and not output.is_dir()):
        raise UsageError(f"OUTPUT {output} is a file; give a folder for the results")
    files: dict[Path, None] = {}  # an ordered set
    unreadable: list[Path] = []
    others: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = _list_folder(path, output)
            files |= dict.fromkeys(found[0])
            unreadable += found[1]
            others += found[2]
        else:
            files[path] = None
    if not files and not unreadable:
        named = ", ".join(map(str, inputs[:3]))
        raise UsageError(f"{named} contains no images; give images, or a folder of images")
    folders = [path if path.is_dir() else path.parent for path in paths]
    base = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    names = [os.path.relpath(file, base) for file in files]
    jobs = [
        Job(file, output / new) for file, new in zip(files, _new_names(names, form), strict=True)
    ]
    # Reading such a folder fails with the reason.
    jobs += [Job(path, output / os.path.relpath(path, base)) for path in unreadable]
    return JobPlan(jobs, output, others)


def require_other_files(plans: Iterable[JobPlan], sheet: Path | None = None) -> None:
    """Refuse results that would overwrite an image, and a sheet that would overwrite either."""
    jobs = [job for plan in plans for job in plan.jobs]
    sources = {os.path.realpath(job.source) for job in jobs}
    targets = {os.path.realpath(target): (job, target) for job in jobs for target in job.targets}
    if replaced := sources & targets.keys():
        job, target = targets[min(replaced)]
        raise UsageError(
            f"OUTPUT is INPUT: the result of {job.source} would overwrite the image {target}; "
            "give another folder"
        )
    if sheet is not None and os.path.realpath(sheet) in sources.union(targets):
        raise UsageError(f"--sheet would overwrite {sheet}, an image or a result; rename the image")


def _plan_one(source: Path, output: Path, form: Format) -> JobPlan:
    if output.is_dir() or output.suffix.lower() not in IMAGE_SUFFIXES:
        target = output / (source.stem + _suffix(source.name, form))
        return JobPlan([Job(source, target)], output, [])
    written = WRITABLE.get(output.suffix.lower())
    if written is None:
        raise UsageError(f"{output}: only {', '.join(sorted(WRITABLE))} can be written")
    if form != "same" and written != WRITABLE[f".{form}"]:
        raise UsageError(f"{output} does not match --format {form}; leave one of them out")
    return JobPlan([Job(source, output)], None, [])


def _expand(path: Path, output: Path) -> list[Path]:
    """Return a path that exists, or the paths that match it as a pattern."""
    if os.path.lexists(path):
        return [path]
    matches = sorted(glob(str(path), recursive=True))
    if not matches:
        raise UsageError(f"{path} does not exist; give images, or a folder of images")
    before_wildcard = re.split(r"[*?[]", str(path), maxsplit=1)[0]
    return _without_results(map(Path, matches), Path(os.path.dirname(before_wildcard)), output)


def _without_results(found: Iterable[Path], folder: Path, output: Path) -> list[Path]:
    """Leave out the results of earlier calls from the files found in a folder.

    A folder that is itself the output is refused: it would mix images and results.
    """
    own = Path(os.path.realpath(output))
    base = Path(os.path.realpath(folder))
    if base == own:
        raise UsageError(f"OUTPUT {output} is also INPUT; give another folder")
    found = list(found)
    if base.is_relative_to(own):
        return found
    parents = {parent: os.path.realpath(parent) for parent in {path.parent for path in found}}
    return [path for path in found if not Path(parents[path.parent], path.name).is_relative_to(own)]


def _list_folder(source: Path, output: Path) -> tuple[list[Path], ...]:
    """Return the images, the folders that cannot be opened, and the other files of a folder."""
    unreadable: list[str] = []
    others: list[str] = []
    try:
        names = list_images(source, unreadable, others)
    except SourceError as error:
        if error.__cause__ is not None:
            raise
        names = []
    return tuple(
        _without_results((source / name for name in found), source, output)
        for found in (names, unreadable, others)
    )


def _new_names(names: list[str], form: Format) -> list[str]:
    """Return the names of the results; a.jpg and a.tif as PNG become a.jpg.png and a.tif.png.

    Files whose new names clash all keep their old suffix, so that names do not depend on the order.
    """
    preferred = [splitext(name)[0] + _suffix(name, form) for name in names]
    count = Counter(preferred)
    taken = {new for new in preferred if count[new] == 1}
    renamed = []
    for name, new in zip(names, preferred, strict=True):
        if count[new] > 1:
            new = name + _suffix(name, form)
            while new in taken:
                new += _suffix(name, form)
            taken.add(new)
        renamed.append(new)
    return renamed


def _suffix(name: str, form: Format) -> str:
    if form != "same":
        return f".{form}"
    own = Path(name).suffix
    return own if own.lower() in WRITABLE else ".png"


def add_controls(
    plan: JobPlan,
    common: Control,
    samples: int | None = None,
    hints: Path | None = None,
    references: Path | None = None,
    file: Path | None = None,
) -> JobPlan:
    """Return the plan with a number of samples, and a control for each image.

    Args:
        plan: The images.
        common: Control of all images.
        samples: Number of numbered files for each image; None for one without a number.
        hints: A folder with hints for some images, with the same sub-folder and name except for the
            suffix; for one image also a file.
        references: A reference for all images, or a folder with references as for hints.
        file: CSV or JSON lines with the column `image` and others, which replace the common control
            of this image. Files are relative to its folder.

    Raises:
        UsageError: If no image has hints, hints are images of the plan, a file cannot be read, a
            column is unknown, or a row's image is not in the plan.
    """
    drawn = {} if hints is None else _find("hints", hints, plan)
    referring = {}
    if references is not None and references.is_dir():
        referring = _find("reference", references, plan)
    elif references is not None:
        common = replace(common, references=read_references(references))
    rows = {} if file is None else _read_rows(file)
    own_files = drawn or referring or rows
    sources = [os.path.realpath(job.source) if own_files else "" for job in plan.jobs]
    named = [row["hints"] for row in rows.values() if "hints" in row]
    given = (
        (f"--hints {hints}", drawn.values()),
        (f"--reference {references}", referring.values()),
        (f"--controls {file}", named),
    )
    for option, paths in given:
        if inside := {*map(os.path.realpath, paths)}.intersection(sources):
            raise UsageError(
                f"{option}: {min(inside)} is inside INPUT and would be colorized; move it"
            )
    if unknown := rows.keys() - set(sources):
        raise UsageError(
            f"--controls {file}: {min(unknown)} is not an image of INPUT; the column image is "
            "relative to the folder of this file"
        )
    jobs = []
    for job, source in zip(plan.jobs, sources, strict=True):
        own: dict[str, Any] = {"hints": drawn[job.source]} if job.source in drawn else {}
        if job.source in referring:
            own["references"] = read_references(referring[job.source])
        own |= rows.get(source, {})
        control = replace(common, **own) if own else common
        jobs.append(job._replace(control=control, samples=samples))
    read = None if file is None else os.path.realpath(file)
    others = [path for path in plan.others if os.path.realpath(path) != read]
    return plan._replace(jobs=jobs, others=others)


def _find(name: str, given: Path, plan: JobPlan) -> dict[Path, Path]:
    """Return the files of `--hints` or `--reference` by the images that they are for."""
    option = f"--{name} {given}"
    if len(plan.jobs) == 1 and given.is_file():
        return {plan.jobs[0].source: given}
    if not given.exists():
        raise UsageError(f"{option} does not exist")
    if not given.is_dir():
        raise UsageError(f"{option} is not a folder; for one image, give a file or a folder")
    # PNG if there are several of the same name.
    names = sorted(list_images(given), key=lambda name: name.lower().endswith(".png"))
    files = {splitext(name)[0]: given / name for name in names}
    others = {given / each for each in names}.difference(files.values())
    if name == "reference" and others:
        raise UsageError(f"{option}: {min(others)} is a second reference of this name")
    found = {}
    for job in plan.jobs:
        folder = "" if plan.folder is None else os.path.relpath(job.target.parent, plan.folder)
        stem = Path(folder, job.source.stem).as_posix()
        if stem in files:
            found[job.source] = files[stem]
    if not found:
        raise UsageError(f"{option} has no image named as one of INPUT, such as {stem}.png")
    if unused := sorted({*files.values()}.difference(found.values())):
        count = f"{len(unused)} of {len(files)}, such as {unused[0]}"
        print(printable(f"--{name} without an image in INPUT: {count}"), file=sys.stderr)
    return found


def _read_rows(file: Path) -> dict[str, dict[str, Any]]:
    """Return the conditions of each image, by its real path."""
    found: dict[str, dict[str, Any]] = {}
    is_csv = file.suffix.lower() == ".csv"
    palette = cache(partial(parse_palette, folder=file.parent))
    refer = cache(lambda name: read_references(file.parent / name))
    convert: dict[str, Any] = {
        "hints": file.parent.joinpath,
        "palette": palette,
        "reference": refer,
    }
    decode = partial(json.loads, object_pairs_hook=_without_duplicates)
    number = 0
    try:
        # utf-8-sig: spreadsheets put a byte-order mark at the start.
        with file.open(encoding="utf-8-sig", newline="") as opened:
            table = csv.DictReader(opened, restkey="beyond the header")
            if is_csv:
                _without_duplicates([(name, "") for name in table.fieldnames or ()])
            rows: Iterable[Any] = table if is_csv else filter(str.strip, opened)
            for row in rows:
                number += 1
                given = _named_cells(row if is_csv else decode(row))
                image = os.path.realpath(file.parent / given.pop("image"))
                if image in found:
                    raise UsageError(f"{image} is in a row above already")
                for name in given.keys() & convert.keys():
                    given[name] = convert[name](given[name])
                if "reference" in given:
                    given["references"] = given.pop("reference")
                found[image] = given
    except OSError as error:
        raise UsageError(f"--controls {file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError, csv.Error) as error:
        kind = "CSV" if is_csv else "JSON lines, as its name does not end with .csv"
        raise UsageError(f"{file}, row {number}, of {kind}: {first_line(error)}") from None
    if not found:
        raise UsageError(f"--controls {file} has no rows")
    return found


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(cells := dict(pairs)) < len(pairs):
        raise UsageError("a column is given twice")
    return cells


def _named_cells(row: Any) -> dict[str, Any]:
    """Return the cells of a row that are not empty."""
    cells = row if isinstance(row, dict) else {str(row): ""}
    if unknown := cells.keys() - set(_COLUMNS):
        raise UsageError(f"unknown column {min(unknown)}; the columns are {', '.join(_COLUMNS)}")
    given = {name: text for name in cells if (text := str(cells[name] or "").strip())}
    if "image" not in given:
        raise UsageError("the column image is empty")
    return given
