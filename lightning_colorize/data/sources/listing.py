"""Finds the image files of a folder and selects them by name."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import translate
from itertools import chain
from pathlib import Path

from lightning_colorize.data.decoding.files import IMAGE_SUFFIXES
from lightning_colorize.data.image_set import FileImages, NameList, Notes
from lightning_colorize.data.name_list import read_name_list
from lightning_colorize.data.sources.base import Root, SourceError, Splits, require_local
from lightning_colorize.data.splits import category_finder


def require_at_least_one(**limits: int | None) -> None:
    """Raise a SourceError if a limit on the number of images is below 1."""
    for name, limit in limits.items():
        if limit is not None and limit < 1:
            raise SourceError(f"{name} is {limit}: it must be at least 1")


def require_folder(root: Root | None, reader: str, option: str = "--data.root") -> Path:
    """Return the folder with `~` expanded; a SourceError if None, missing, a file or a URL."""
    folder = require_local(root, reader)
    if folder.is_dir():
        return folder
    if not folder.exists():
        raise SourceError(f"{folder} does not exist: {option} must name an existing folder")
    hint = "ManifestSource reads a CSV list" if folder.suffix == ".csv" else "name its folder"
    raise SourceError(f"{folder} is a file, {reader} needs an image folder: {hint}")


def list_images(
    folder: Path, unreadable: list[str] | None = None, others: list[str] | None = None
) -> list[str]:
    """Return the relative names of all image files below a folder, sorted, with forward slashes.

    Hidden files and folders and `__MACOSX` are left out. Links are followed, and a folder that is
    reached twice is listed once, preferably under its own path. A dangling link, a pipe or a device
    with an image suffix is listed, so that it is reported as a broken image.

    `unreadable` receives the names of sub-folders that cannot be opened; without it, each is a
    SourceError, as is a folder without images. `others` receives the names of all other files, and
    of hidden folders with a slash behind.
    """
    names: list[str] = []
    others = [] if others is None else others
    hidden: list[str] = []
    visited: set[tuple[int, int]] = set()

    def failed(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        if unreadable is None or name == ".":
            raise SourceError(f"{error.filename} cannot be listed: {error.strerror}") from error
        unreadable.append(name)

    tops = [os.fspath(folder)]
    while tops:
        # Links wait until all real folders are listed, so that names do not depend on the order.
        tops.sort(reverse=True)
        for base, folders, files in os.walk(tops.pop(), onerror=failed):
            status = os.stat(base)
            if (status.st_dev, status.st_ino) in visited:
                folders.clear()
                continue
            visited.add((status.st_dev, status.st_ino))
            below = Path(base).relative_to(folder).as_posix()
            prefix = "" if below == "." else f"{below}/"
            hidden += [f"{prefix}{name}/" for name in folders if is_hidden(name)]
            folders[:] = [name for name in folders if not is_hidden(name)]
            paths = [os.path.join(base, name) for name in folders]
            tops += [f"{path}/" for path in paths if os.path.islink(path)]
            for name in files:
                if is_hidden(name):
                    hidden.append(prefix + name)
                elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                    names.append(prefix + name)
                else:
                    others.append(prefix + name)
    if not names and not unreadable:
        raise SourceError(_nothing_found(folder, others))
    others += hidden
    names.sort()
    return names


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is left out."""
    return name.startswith(".") or name == "__MACOSX"


def _nothing_found(folder: Path, files: list[str]) -> str:
    others = Counter(os.path.splitext(name)[1].lower() or "no suffix" for name in files)
    if not others:
        return f"{folder} is empty: put images into it, or name another folder"
    readers = {".tar": "webdataset", ".arrow": "huggingface", ".parquet": "huggingface"}
    for suffix in readers.keys() & others.keys():
        fragment = f"experiments/source/{readers[suffix]}.yaml"
        return f"{folder} holds no image but {suffix} files: pass --data.source {fragment}"
    count = others.total()
    suffixes = ", ".join(suffix for suffix, _ in others.most_common(5))
    return f"{folder} holds {count} file{'s' * (count > 1)}, none of them an image ({suffixes})"


def matching(names: Iterable[str], patterns: str | list[str]) -> set[str]:
    """Return the names whose file name or whole relative name matches one of the patterns.

    Patterns are case-sensitive shell patterns such as `basset_hound_*` or `cats/*`.
    """
    listed = [patterns] if isinstance(patterns, str) else patterns
    match = re.compile("|".join(map(translate, listed))).match
    return {name for name in names if match(name) or match(name.rpartition("/")[2])}


def labeled_images(folder: Path, names: Mapping[str, Sequence[str]]) -> Splits:
    """Return each split's images, labeled by category if the training images have at least two."""
    category_of = category_finder(chain.from_iterable(names.values()))
    # No category begins with a point but ".", which is none: hidden folders are not listed.
    labels = {s: [category_of(n).removeprefix(".") for n in own] for s, own in names.items()}
    labeled = len({*labels.get("train", ())} - {""}) >= 2
    return {
        split: FileImages(folder, own, notes=Notes(NameList(labels[split]) if labeled else None))
        for split, own in names.items()
    }


def listed_names(exclude_list: Path | None, names: Collection[str], root: Root | None) -> set[str]:
    """Return the names in a source's `exclude_list`, or an empty set without one.

    A list that names none of the images, or all of them, is a UsageError.
    """
    listed = set() if exclude_list is None else read_name_list(exclude_list)
    # Such a list most likely holds names relative to another folder.
    if listed and listed.isdisjoint(names):
        raise SourceError(f"exclude_list: {exclude_list} names no image in {root}")
    if listed.issuperset(names):
        raise SourceError(f"exclude_list: {exclude_list} excludes every image in {root}")
    return listed
