"""The image files of a folder, and what is said when there are none."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from fnmatch import translate
from pathlib import Path
from typing import Literal

from lightning_colorize.data.decoding.files import IMAGE_SUFFIXES
from lightning_colorize.data.name_list import read_name_list
from lightning_colorize.data.sources.base import Root, SourceError, require_local


def require_folder(root: Root | None, reader: str, option: str = "--data.root") -> Path:
    """Return the folder, `~` expanded.

    Args:
        root: The folder given.
        reader: What wants it, for the message.
        option: Where it was given, for the message.

    Raises:
        SourceError: If none was given, or it is missing, a file, or an address.
    """
    if root is None:
        raise SourceError(f"{reader} needs a folder of images: pass {option} FOLDER")
    folder = require_local(root, reader)
    if folder.is_dir():
        return folder
    if not folder.exists():
        raise SourceError(f"{folder} does not exist: {option} must name an existing folder")
    hint = "ManifestSource reads a list in CSV" if folder.suffix == ".csv" else "name its folder"
    raise SourceError(f"{folder} is a file, {reader} needs a folder of images: {hint}")


def list_images(folder: Path) -> list[str]:
    """Return the names of all image files below a folder, sorted.

    Hidden files and folders and `__MACOSX` are left out. Links are followed; a folder that is
    reached twice (by a link to it, or by a loop) is listed once, under its own path if it has one
    below the folder. A link that leads nowhere is listed if its name is an image's: it cannot be
    read, and is found broken.

    Args:
        folder: An existing folder.

    Returns:
        Names relative to the folder, with forward slashes.

    Raises:
        SourceError: If there is no image file, or a folder cannot be opened.
    """
    names: list[str] = []
    others: Counter[str] = Counter()
    visited: set[tuple[int, int]] = set()
    folders = [""]
    links: list[str] = []
    while folders or links:
        # Links wait until all real folders are listed, so that names do not depend on the order.
        if not folders:
            links.sort(reverse=True)
        prefix = (folders or links).pop()
        try:
            place = os.stat(folder / prefix)
            if (place.st_dev, place.st_ino) in visited:
                continue
            visited.add((place.st_dev, place.st_ino))
            with os.scandir(folder / prefix) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    kind = _kind(entry)
                    if kind == "folder":
                        (links if entry.is_symlink() else folders).append(f"{prefix}{entry.name}/")
                        continue
                    suffix = os.path.splitext(entry.name)[1].lower()
                    # A link that leads nowhere is a broken image: not one fewer in silence.
                    if suffix in IMAGE_SUFFIXES and (kind == "file" or entry.is_symlink()):
                        names.append(prefix + entry.name)
                    else:
                        others[suffix or "no suffix"] += 1
        except OSError as error:
            raise SourceError(f"{folder / prefix} cannot be listed: {error.strerror}") from error
    if not names:
        raise SourceError(_nothing_found(folder, others))
    names.sort()
    return names


def _kind(entry: "os.DirEntry[str]") -> Literal["folder", "file"] | None:
    """Return what an entry is, links followed; None for neither, or where a link leads nowhere."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else None
    except OSError:  # a link to itself
        return None


def _nothing_found(folder: Path, others: Counter[str]) -> str:
    if not others:
        return f"{folder} is empty: put images into it, or name another folder"
    if ".bin" in others:
        return (
            f"{folder} holds shards and no pack.json that makes them whole: run lightning-colorize "
            "pack again, to its end, or name the folder of the photographs"
        )
    count = others.total()
    suffixes = ", ".join(suffix for suffix, _ in others.most_common(5))
    return f"{folder} holds {count} file{'s' * (count > 1)}, none of them an image ({suffixes})"


def matching(names: Iterable[str], patterns: str | list[str]) -> set[str]:
    """Return the names whose file name or whole relative name matches one of the patterns.

    Args:
        names: Relative names with forward slashes.
        patterns: Shell patterns such as `basset_hound_*` or `cats/*`; upper and lower case differ.
    """
    listed = [patterns] if isinstance(patterns, str) else patterns
    match = re.compile("|".join(map(translate, listed))).match
    return {name for name in names if match(name) or match(name.rpartition("/")[2])}


def listed_names(exclude_list: Path | None, names: Collection[str], place: Path) -> set[str]:
    """Return the names that a source's `exclude_list` leaves out; none without one.

    Args:
        exclude_list: A file as `read_name_list` reads it.
        names: Of all images of the source.
        place: Where these are, for the message.

    Raises:
        SourceError: If the file cannot be read, or names none of the images or all of them.
    """
    listed = set() if exclude_list is None else read_name_list(exclude_list)
    # Most likely names relative to another folder, which would exclude nothing in silence.
    if listed and listed.isdisjoint(names):
        raise SourceError(f"exclude_list: no name in {exclude_list} is of an image in {place}")
    if listed.issuperset(names):
        raise SourceError(f"exclude_list: {exclude_list} leaves none of the images in {place}")
    return listed
