"""Packs a folder of images into WebDataset tars, in parallel, and continues an interrupted pack."""

import hashlib
import json
import multiprocessing
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import atomic_file, remove_leftovers, write_atomic
from lightning_colorize.common.processes import exit_with_parent, quiet_decoders
from lightning_colorize.common.progress import progress
from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.decoding.files import ImageError, read_image
from lightning_colorize.data.image_set import ImageSet, NameList, Notes
from lightning_colorize.data.name_list import name_with_reason
from lightning_colorize.data.shards.index import PACK, Pack, PackedTar, TarIndex, parse_pack
from lightning_colorize.data.splits import name_hashes

BROKEN = "broken.txt"

_WORK = ".packing"  # exists while a pack is being written, with a record of each finished tar
_PLAN = f"{_WORK}/plan.json"

# Seconds within which the workers of a killed command end.
_LOCK_TIMEOUT = 10.0

# Large enough for one request, small enough to cache several.
_TAR_BYTES = 2**25

# Measured on JPEGs of quality 95 without chroma subsampling.
_BYTES_PER_PIXEL = {"jpeg": 0.6, "uint8": 3.0}


@dataclass(frozen=True)
class PackSettings:
    """How images are packed.

    Args:
        size: Short side in pixels; smaller images are not enlarged.
        encoding: JPEG files, or decoded images as NumPy arrays.
        quality: JPEG quality, 1 to 100, without chroma subsampling.
        images_per_shard: Images in a tar; None: about 32 MiB of them.
    """

    size: int = 256
    encoding: Literal["jpeg", "uint8"] = "jpeg"
    quality: int = 95
    images_per_shard: int | None = None

    @property
    def count(self) -> int:
        """Return the number of images in a tar."""
        image = _BYTES_PER_PIXEL[self.encoding] * 1.5 * self.size**2  # of an image of 3:2
        return self.images_per_shard or max(1, round(_TAR_BYTES / image))


class _Part(NamedTuple):
    """The images of one tar: its file name, their names and their labels and texts."""

    file: str
    names: NameList
    notes: Notes


def pack(
    folder: Path, splits: Mapping[str, ImageSet], settings: PackSettings, target: Path, workers: int
) -> tuple[list[PackedTar], int]:
    """Write the missing tars, and then `pack.json`.

    The images of a split are in a random order that depends on their names alone, so each tar is a
    mixture of all classes. The files do not depend on the number of workers or on interruptions.

    Args:
        folder: The folder that the names of the images are relative to.
        splits: The images of each split.
        settings: How they are packed.
        target: The folder of the tars.
        workers: Number of processes; 0 is this one.

    Returns:
        The tars, and how many of them an earlier run had written.

    Raises:
        UsageError: If the target contains something else, or another process packs into it.
        WorkError: If none of the images can be read, or the disk is full.
    """
    target.mkdir(parents=True, exist_ok=True)
    parts = [part for split, images in splits.items() for part in _parts(split, images, settings)]
    plan = asdict(settings) | {"images": _digest(parts)}
    try:
        with _locked(target):
            finished = _finished(target, plan)
            write_atomic(target / _PLAN, Pack(plan, []).dump())
            write = partial(_packed, folder, target, plan, settings, finished)
            packed = list(progress(_mapped(write, parts, workers), len(parts), "packing shards"))
            tars = [tar for tar, _ in packed]
            _write_index(target, Pack(plan, tars))
    except OSError as error:
        raise WorkError(
            f"{error.filename or target}: {error.strerror}; finished shards stay, run the same "
            "command again"
        ) from error
    except BrokenProcessPool:
        raise WorkError("a worker process was killed; run the same command again") from None
    return tars, sum(existed for _, existed in packed)


def _parts(split: str, images: ImageSet, settings: PackSettings) -> Iterator[_Part]:
    names = [images.name(index) for index in range(len(images))]
    order = np.argsort(name_hashes(names, salt="shards"), kind="stable")
    for number, start in enumerate(range(0, len(order), settings.count)):
        rows = order[start : start + settings.count]
        chosen = NameList(names[row] for row in rows)
        yield _Part(f"{split}-{number:06d}.tar", chosen, images.notes.take(rows))


def _digest(parts: list[_Part]) -> str:
    """Return a digest of all names, labels and texts."""
    digest = hashlib.sha256()
    for file, names, notes in parts:
        digest.update(repr((file, *(column and [*column] for column in (names, *notes)))).encode())
    return digest.hexdigest()


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Lock the folder against other processes, if it contains nothing but a pack."""
    is_new = not any((target / name).exists() for name in (PACK, _PLAN))
    if is_new and any(not name.startswith(".") for name in os.listdir(target)):
        raise UsageError(f"{target} is not empty and not a pack: name a new folder")
    (target / _WORK).mkdir(exist_ok=True)
    try:
        with FileLock(target / _WORK / "lock", timeout=_LOCK_TIMEOUT):
            remove_leftovers(target)
            yield
    except Timeout:
        raise UsageError(f"another process packs into {target}: wait until it ends") from None


def _finished(target: Path, plan: dict[str, Any]) -> dict[str, PackedTar]:
    """Return the finished tars of an earlier run of the same plan, by file name."""
    tars = {}
    for file in [*target.glob(PACK), *(target / _WORK).glob("*.json")]:
        former = parse_pack(file.read_bytes(), str(file))
        for name, value in plan.items():
            if (was := former.plan.get(name)) != value:
                given = "" if name == "images" else f" {was}, not {value}"
                raise UsageError(
                    f"{target} is a pack with other {name}{given}: name another folder, or delete "
                    "it"
                )
        tars.update({tar.file: tar for tar in former.tars})
    return tars


def _mapped(write: Any, parts: list[_Part], workers: int) -> Iterator[tuple[PackedTar, bool]]:
    if not workers:
        yield from map(write, parts)
        return
    fork = multiprocessing.get_context("fork")  # workers inherit the loaded libraries
    with ProcessPoolExecutor(workers, fork, _begin_worker) as pool:
        yield from pool.map(write, parts)


def _begin_worker() -> None:
    exit_with_parent()
    quiet_decoders()


def _packed(
    folder: Path,
    target: Path,
    plan: dict[str, Any],
    settings: PackSettings,
    finished: dict[str, PackedTar],
    part: _Part,
) -> tuple[PackedTar, bool]:
    """Return a finished tar that is intact, complete and newer than its images, or write it.

    Also returns whether the tar existed.
    """
    path, former = target / part.file, finished.get(part.file)
    if former is not None and not former.broken and path.is_file():
        written, is_intact = path.stat().st_mtime_ns, sha256_of(path) == former.sha256
        if is_intact and all((folder / n).stat().st_mtime_ns < written for n in part.names):
            return former, True
    tar = _write_tar(folder, part, settings, path)
    write_atomic(target / _WORK / f"{part.file}.json", Pack(plan, [tar]).dump())
    return tar, False


def _write_tar(folder: Path, part: _Part, settings: PackSettings, path: Path) -> PackedTar:
    """Write a tar with a JSON member (name, label and text) and an image for each sample."""
    index, broken = TarIndex([], [], [], [], [], []), []
    columns = {"name": part.names, "label": part.notes.labels, "text": part.notes.texts}
    extension = "jpg" if settings.encoding == "jpeg" else "npy"
    with atomic_file(path) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for row, name in enumerate(part.names):
                try:
                    image = _encoded(folder / name, settings)
                except ImageError as error:
                    broken.append((name, error.reason))
                    continue
                sample = {key: column[row] for key, column in columns.items() if column is not None}
                for key, value in sample.items():
                    getattr(index, f"{key}s").append(value)
                _add(tar, f"{row:06d}.json", json.dumps(sample).encode())
                # The header of such a short name is one block.
                index.offsets.append(tar.offset + tarfile.BLOCKSIZE)
                index.sizes.append(len(image))
                _add(tar, f"{row:06d}.{extension}", image)
        file.flush()
        length, sha256 = file.tell(), sha256_of(Path(file.name))
    if not index.names:
        path.unlink()
        length, sha256 = 0, ""
    return PackedTar(path.name, length, sha256, broken, index)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, BytesIO(content))


def _encoded(path: Path, settings: PackSettings) -> bytes:
    """Return an image with a short side of at most `size` pixels, as a file."""
    rgb = limit_length(read_image(path, settings.size))
    if min(rgb.shape[-2:]) > settings.size:
        rgb = resize_short_side(rgb, settings.size)
    file = BytesIO()
    if settings.encoding == "uint8":
        np.save(file, rgb.contiguous().numpy())
    else:
        image = Image.fromarray(rgb.permute(1, 2, 0).numpy())
        # Chroma is the training target: subsampling would halve its resolution.
        image.save(file, "JPEG", quality=settings.quality, subsampling=0)
    return file.getvalue()


def _write_index(target: Path, pack: Pack) -> None:
    """Write the list of broken images, and last `pack.json`."""
    broken = [item for tar in pack.tars for item in tar.broken]
    if not any(tar.images.names for tar in pack.tars):
        name, reason = broken[0]
        raise WorkError(f"none of {len(broken)} images can be read (first: {name}: {reason})")
    listed = "".join(name_with_reason(*item) for item in broken)
    (target / BROKEN).unlink(missing_ok=True)
    if listed:
        (target / BROKEN).write_text(listed, encoding="utf-8", errors="surrogateescape")
    write_atomic(target / PACK, pack.dump())
    shutil.rmtree(target / _WORK)
