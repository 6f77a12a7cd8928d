"""Image files to colorized image files, with a manifest."""

import errno
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TextIO

from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from lightning_colorize.common.errors import WorkError
from lightning_colorize.common.files import remove_leftovers, replacement
from lightning_colorize.data.decoding.files import (
    MAX_DENSITY,
    ImageError,
    conversions,
    decode_image,
    read_bytes,
)
from lightning_colorize.data.decoding.metadata import read_metadata
from lightning_colorize.inference.checkpoint import ColorizationModel
from lightning_colorize.inference.jobs import WRITABLE, Job
from lightning_colorize.tasks.prediction import colorize_image, seen_side

MANIFEST = "manifest.jsonl"

_OPTIONS: dict[str, dict[str, Any]] = {
    # Chroma subsampling would blur the predicted colors.
    "JPEG": {"quality": 95, "subsampling": 0},
    # Half the time of the default level for 2 % more bytes.
    "PNG": {"compress_level": 3},
    "TIFF": {"compression": "tiff_deflate"},
    "WEBP": {"quality": 95},
}


@dataclass
class Record:
    """The outcome of one image; a line of `manifest.jsonl`.

    Attributes:
        input: The file read.
        output: The file written, or to be written.
        status: `skipped` if the output exists.
        reason: Why it is not `ok`; empty if it is.
        width: Of the image, upright, in pixels; None if it was not read.
        height: Of the image, upright, in pixels; None if it was not read.
        model: The checkpoint.
        size: Requested pixels of the short side that the network sees.
        seconds: From reading to writing.
        fallbacks: Deviations from the request, in words.
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
    manifest: Path | None = None,
    overwrite: bool = False,
    max_density: int = MAX_DENSITY,
) -> Iterator[Record]:
    """Colorize images one by one; an image that fails does not stop the others.

    Results are written under a temporary name and renamed, so that none is incomplete. Those of
    killed processes are removed first.

    Args:
        loaded: The model.
        jobs: Files to read and to write; folders are created.
        size: Pixels of the short side that the network sees.
        manifest: Folder whose manifest receives a line for each image.
        overwrite: Replace existing results; otherwise they are skipped.
        max_density: Most pixels for each byte of the file of a large image.

    Raises:
        WorkError: If the disk is full, or the manifest cannot be written.
    """
    jobs = list(jobs)
    for folder in {job.target.parent for job in jobs}:
        remove_leftovers(folder)
    for job in jobs:
        start = time.perf_counter()
        record = Record(
            str(job.source), str(job.target), "failed", "", None, None, str(loaded.path), size
        )
        # Not `is_file`, which raises an error for a name that is too long. A folder is no result.
        if os.path.isfile(job.target) and not overwrite:
            record.status, record.reason = "skipped", "the output exists"
        else:
            _colorize(loaded, job, size, max_density, record)
        record.seconds = round(time.perf_counter() - start, 4)
        if manifest is not None:
            _append(manifest, record)
        yield record


def open_manifest(folder: Path) -> TextIO:
    """Open a folder's manifest for appending; it is created if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MANIFEST
    # A killed process leaves half a line; the next line must not continue it.
    torn = False
    if path.exists() and path.stat().st_size:
        with path.open("rb") as old:
            old.seek(-1, os.SEEK_END)
            torn = old.read() != b"\n"
    file = path.open("a", encoding="utf-8")
    file.write("\n" * torn)
    return file


def _append(folder: Path, record: Record) -> None:
    """Append a line to a folder's manifest, which is created again if it was removed."""
    try:
        with open_manifest(folder) as file:
            file.write(json.dumps(asdict(record)) + "\n")
    except OSError as error:
        raise _stopped(folder / MANIFEST, error) from None


def _stopped(path: Path, error: OSError) -> WorkError:
    return WorkError(
        f"{path} cannot be written: {error.strerror}; free space or make it writable, "
        "then the same command continues"
    )


def _colorize(
    loaded: ColorizationModel, job: Job, size: int, max_density: int, record: Record
) -> None:
    try:
        data = read_bytes(job.source)
        rgb = decode_image(data, job.source, max_density=max_density)
        record.fallbacks += conversions(data)
        record.height, record.width = rgb.shape[-2:]
        side = seen_side(record.height, record.width, size)
        if side < size:
            record.fallbacks.append(f"seen at {side} px because of its aspect ratio")
        metadata, lost = read_metadata(data, WRITABLE[job.target.suffix.lower()])
        record.fallbacks += lost
        save_image(colorize_image(loaded.task, rgb, size), job.target, metadata)
        record.status = "ok"
    except ImageError as error:
        record.reason = error.reason
    except FloatingPointError as error:
        record.reason = str(error)
    except (MemoryError, RuntimeError) as error:
        # On the CPU torch raises a mere RuntimeError: "can't allocate memory".
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        record.reason = f"out of memory at {record.width} x {record.height} pixels"
    except (OSError, ValueError) as error:  # Pillow, for more pixels than a format allows
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _stopped(job.target, error) from None
        record.reason = f"cannot be written: {getattr(error, 'strerror', None) or error}"


def save_image(rgb: Tensor, path: Path, metadata: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Write an image in the format of the suffix, atomically.

    Args:
        rgb: (3, H, W), uint8.
        path: Its suffix is one of `WRITABLE`; its folder is created.
        metadata: Further options of Pillow's `save`, which the format holds.

    Raises:
        OSError: If it cannot be written.
        ValueError: If the format does not allow so many pixels.
    """
    form = WRITABLE[path.suffix.lower()]
    # In memory first: written to a full disk by Pillow, some formats are a mere "encoder error".
    encoded = BytesIO()
    to_pil_image(rgb).save(encoded, form, **_OPTIONS.get(form, {}), **metadata)
    with replacement(path) as file:
        file.write(encoded.getbuffer())
