"""Input and output files of a colorize job."""

from collections import Counter
from os.path import splitext
from pathlib import Path
from typing import Literal, NamedTuple

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import IMAGE_SUFFIXES
from lightning_colorize.data.sources import SourceError
from lightning_colorize.data.sources.listing import list_images

Format = Literal["png", "jpg", "same"]

WRITABLE = {
    ".bmp": "BMP",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""Pillow's format by suffix, in lower case, of the files that can be written."""


class Job(NamedTuple):
    """One image to colorize: the file to read and the file to write."""

    source: Path
    target: Path


def plan_jobs(source: Path, output: Path, form: Format = "same") -> tuple[list[Job], Path | None]:
    """Find the images and name their results; all names differ.

    Args:
        source: An image, or a folder of any depth, whose structure is preserved. Files in `output`
            are skipped if that is a folder inside.
        output: A folder; for a single image also a file name.
        form: Write PNG, JPEG, or the format of the image (PNG if that cannot be written).

    Returns:
        The jobs, one for each folder that cannot be opened as well; and the folder of their
        manifest, None for a single file name.

    Raises:
        UsageError: If there are no images, or the output is not a valid target.
    """
    if source.is_file():
        if not output.is_dir() and output.suffix.lower() in IMAGE_SUFFIXES:
            return [_named(source, output, form)], None
        return [Job(source, output / (source.stem + _suffix(source.name, form)))], output
    if not source.is_dir():
        raise UsageError(f"{source} does not exist; give an image or a folder of images")
    if output.resolve() == source.resolve():
        raise UsageError(f"OUTPUT is INPUT ({source}); give another folder")
    names, unreadable = _names(source, output)
    jobs = [Job(source / name, output / new) for name, new in _new_names(names, form)]
    # Reading such a folder fails with the reason.
    return [*jobs, *(Job(source / name, output / name) for name in unreadable)], output


def _names(source: Path, output: Path) -> tuple[list[str], list[str]]:
    """Return the names of the images, and of the folders that cannot be opened."""
    unreadable: list[str] = []
    try:
        names = list_images(source, unreadable)
    except SourceError as error:
        if error.__cause__ is not None:
            raise
        names = []
    if output.resolve().is_relative_to(source.resolve()):
        own = output.resolve().relative_to(source.resolve()).as_posix() + "/"
        names = [name for name in names if not name.startswith(own)]
    if not names and not unreadable:
        raise UsageError(f"{source} contains no images; give an image or a folder of images")
    return names, unreadable


def _new_names(names: list[str], form: Format) -> list[tuple[str, str]]:
    """Return old and new names; a.jpg and a.tif as PNG become a.jpg.png and a.tif.png.

    All files whose new names clash keep their old suffix, so that names do not depend on the order.
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
        renamed.append((name, new))
    return renamed


def _suffix(name: str, form: Format) -> str:
    if form != "same":
        return f".{form}"
    own = Path(name).suffix
    return own if own.lower() in WRITABLE else ".png"


def _named(source: Path, output: Path, form: Format) -> Job:
    written = WRITABLE.get(output.suffix.lower())
    if written is None:
        raise UsageError(f"{output}: only {', '.join(sorted(WRITABLE))} can be written")
    if form != "same" and written != WRITABLE[f".{form}"]:
        raise UsageError(f"{output} is not what --format {form} asks for; leave one of them out")
    if output.resolve() == source.resolve():
        raise UsageError(f"OUTPUT is INPUT ({source}); give another name")
    return Job(source, output)
