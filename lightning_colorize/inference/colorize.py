"""Image files to coloured image files, with an account of each."""

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from PIL import Image
from torch import Tensor

from lightning_colorize.common.files import temporary_beside
from lightning_colorize.data.decoding.files import ImageError, read_image
from lightning_colorize.inference.checkpoint import ColorizationModel
from lightning_colorize.inference.jobs import WRITABLE, Job
from lightning_colorize.tasks.prediction import colorize_image, seen_side

MANIFEST = "manifest.jsonl"

_OPTIONS: dict[str, dict[str, Any]] = {
    # Chroma subsampling would blur just what was added.
    "JPEG": {"quality": 95, "subsampling": 0},
    # Half the time of the default level for 2 % more bytes.
    "PNG": {"compress_level": 3},
    "TIFF": {"compression": "tiff_deflate"},
    "WEBP": {"quality": 95},
}


@dataclass
class Record:
    """What became of one image; a line of `manifest.jsonl`.

    Attributes:
        input: The file read.
        output: The file written, or that would have been.
        status: `skipped` where the output was there already.
        reason: Why it is not `ok`; empty where it is.
        width: Of the image, upright, in pixels; None where it was not read.
        height: Likewise.
        model: The checkpoint.
        size: Pixels of the short side at which the network was to see the image.
        seconds: From reading to writing.
        fallbacks: What was done otherwise than asked for, in words.
    """

    input: str
    output: str
    status: Literal["ok", "skipped", "failed"]
    reason: str
    width: int | None
    height: int | None
    model: str
    size: int
    seconds: float = 0.0
    fallbacks: list[str] = field(default_factory=list)


def colorize_files(
    loaded: ColorizationModel,
    jobs: Iterable[Job],
    size: int,
    manifest: TextIO | None = None,
    overwrite: bool = False,
) -> Iterator[Record]:
    """Colour images one by one; one that fails does not stop the others.

    Results appear whole or not at all: they are written under another name first.

    Args:
        loaded: The network.
        jobs: What to read and where to write; folders are made.
        size: Pixels of the short side at which the network sees the images.
        manifest: A line is written here for each image.
        overwrite: Replace results that are there already; else they are skipped.
    """
    for job in jobs:
        start = time.perf_counter()
        record = Record(
            str(job.source), str(job.target), "failed", "", None, None, str(loaded.path), size
        )
        if job.target.exists() and not overwrite:
            record.status, record.reason = "skipped", "the output is there already"
        else:
            _colorize(loaded, job, size, record)
        record.seconds = round(time.perf_counter() - start, 4)
        if manifest is not None:
            manifest.write(json.dumps(asdict(record)) + "\n")
            manifest.flush()
        yield record


def open_manifest(folder: Path) -> TextIO:
    """Open a folder's manifest, made if need be, for lines at its end."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MANIFEST
    # A run that was killed while writing leaves half a line; the next one must not join it.
    torn = False
    if path.exists() and path.stat().st_size:
        with path.open("rb") as old:
            old.seek(-1, os.SEEK_END)
            torn = old.read() != b"\n"
    file = path.open("a", encoding="utf-8")
    file.write("\n" * torn)
    return file


def _colorize(loaded: ColorizationModel, job: Job, size: int, record: Record) -> None:
    try:
        rgb = read_image(job.source)
        record.height, record.width = rgb.shape[-2:]
        side = seen_side(record.height, record.width, size)
        if side < size:
            record.fallbacks.append(f"seen at {side} px because it is so long")
        save_image(colorize_image(loaded.task, rgb, size), job.target)
        record.status = "ok"
    except ImageError as error:
        record.reason = error.reason
    except (MemoryError, RuntimeError) as error:
        # On the CPU torch raises a mere RuntimeError: "can't allocate memory".
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        record.reason = f"out of memory at {record.width} x {record.height} pixels"
    except (OSError, ValueError) as error:  # what Pillow raises for more pixels than a format has
        record.reason = f"cannot be written: {getattr(error, 'strerror', None) or error}"


def save_image(rgb: Tensor, path: Path) -> None:
    """Write an image in the format that its suffix says, whole or not at all.

    Args:
        rgb: (3, H, W), uint8.
        path: Its suffix is one of `WRITABLE`; its folder is made.

    Raises:
        OSError: If it cannot be written.
        ValueError: If the format has no room for so many pixels.
    """
    form = WRITABLE[path.suffix.lower()]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        image = Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())
        image.save(temporary, format=form, **_OPTIONS.get(form, {}))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
