"""Packs a folder of images into shards, in parallel, and continues an interrupted pack."""

import importlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch.utils.data import DataLoader, Dataset

from lightning_colorize.common.arguments import install
from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.processes import exit_with_parent, quiet_decoders
from lightning_colorize.common.progress import progress
from lightning_colorize.data.shards.manifest import MANIFEST, parse_manifest
from lightning_colorize.data.shards.plan import PackPlan
from lightning_colorize.data.shards.writer import (
    PackSummary,
    WrittenShard,
    write_shard,
    write_summary,
)

# Exists while a pack is being written.
_WORK = ".packing"
_PLAN = f"{_WORK}/plan.json"

# Seconds within which the workers of a killed command end.
_LOCK_TIMEOUT = 10.0


def pack(plan: PackPlan, target: Path, workers: int) -> PackSummary:
    """Write the missing shards, and then `pack.json`.

    The files are identical for any number of workers (0: this process) and interruptions.

    Raises:
        UsageError: If the folder contains something else, another process packs into it, or
            LitData is not installed.
        WorkError: If none of the images can be read, or the disk is full.
    """
    try:  # before the workers are forked: it takes seconds
        importlib.import_module("litdata")
    except ImportError:
        raise UsageError(f"pack needs litdata: {install('shards')}") from None
    try:
        with _locked(plan, target):
            shards, reused = _write_shards(_ShardTasks(plan, target), workers)
            summary = write_summary(plan, target, shards, reused)
            shutil.rmtree(target / _WORK)
    except OSError as error:
        raise WorkError(
            f"{error.filename or target}: {error.strerror}; finished shards stay, run the same "
            "command again"
        ) from error
    return summary


class _ShardTasks(Dataset[tuple[WrittenShard, bool] | OSError]):
    """The shards of a plan: reading an item writes the shard unless it exists.

    An OSError is returned instead of raised, because a worker passes on only its text.
    """

    def __init__(self, plan: PackPlan, target: Path) -> None:
        self.plan = plan
        self.target = target
        self.shards = plan.shards()
        self.finished = _finished(target)

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> tuple[WrittenShard, bool] | OSError:
        split, number = self.shards[index]
        file = f"{split}/chunk-0-{number}.bin"  # LitData's name for it
        work = self.target / _WORK / f"{split}-{number}"
        record = work.with_suffix(".json")
        try:
            # Before the images are read: if one changes meanwhile, the next run packs it again.
            sources = self.plan.sources_of(split, number)
            if record.is_file():
                former: WrittenShard | None = WrittenShard(**json.loads(record.read_text()))
            else:
                former = self.finished.get(file)
            # Shards stay valid while the image folder is not accessible.
            if former and sources in (former.sources, "") and _is_intact(self.target, former):
                return former, True
            names = self.plan.names_of(split, number)
            settings = self.plan.settings
            shard = write_shard(self.plan.folder, names, settings, self.target, file, work)
            shard = shard._replace(sources=sources)
            write_atomic(record, json.dumps(shard._asdict()))
        except OSError as error:
            return error
        return shard, False


def _write_shards(tasks: _ShardTasks, workers: int) -> tuple[list[WrittenShard], int]:
    """Return the shards in the plan's order, and how many of them existed before."""
    loader: DataLoader[Any] = DataLoader(
        tasks,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=1 if workers else None,
        worker_init_fn=_exit_with_parent,
    )
    reused = 0
    shards = []
    for result in progress(loader, len(tasks), "packing shards"):
        if isinstance(result, OSError):
            raise result
        shard, existed = result
        shards.append(shard)
        reused += existed
    return shards, reused


def _exit_with_parent(worker: int) -> None:
    """End this worker when its parent is killed; torch checks only between two shards."""
    exit_with_parent()
    quiet_decoders()


@contextmanager
def _locked(plan: PackPlan, target: Path) -> Iterator[None]:
    """Lock the folder against other processes, if it contains nothing but this pack."""
    stamp = plan.stamp()
    _require_same(target, stamp)
    (target / _WORK).mkdir(parents=True, exist_ok=True)
    lock = FileLock(target / _WORK / "lock")
    try:
        lock.acquire(timeout=_LOCK_TIMEOUT)
    except Timeout:
        raise UsageError(f"another process packs into {target}: wait until it ends") from None
    with lock:
        _require_same(target, stamp)
        write_atomic(target / _PLAN, json.dumps(stamp))
        yield


def _require_same(target: Path, stamp: dict[str, Any]) -> None:
    """Raise a UsageError unless the folder is empty or contains a pack of the same plan."""
    file = next((name for name in (MANIFEST, _PLAN) if (target / name).is_file()), None)
    if file is None:
        if target.exists() and any(entry.name != _WORK for entry in target.iterdir()):
            raise UsageError(f"{target} is not empty and not a pack: name a new folder")
        return
    content = (target / file).read_bytes()
    if file == MANIFEST:
        parse_manifest(content, str(target / file))  # reports a damaged manifest
    former = json.loads(content)
    for name, value in stamp["settings"].items():
        if (was := former["settings"].get(name)) != value:
            raise UsageError(
                f"{target} is packed with {name} {was}, not {value}: name another folder, or "
                "delete it"
            )
    if any(former.get(name) != value for name, value in stamp.items()):
        raise UsageError(f"{target} is packed from other images: name another folder, or delete it")


def _finished(target: Path) -> dict[str, WrittenShard]:
    if not (target / MANIFEST).is_file():
        return {}
    found = json.loads((target / MANIFEST).read_text())
    shards = [shard for split in found["splits"].values() for shard in split["shards"]]
    return {shard["file"]: WrittenShard(**shard, litdata=found["litdata"]) for shard in shards}


def _is_intact(target: Path, shard: WrittenShard) -> bool:
    """Return whether a shard's file is the one that was written, or the shard has no images."""
    path = target / shard.file
    return not shard.images or (path.is_file() and sha256_of(path) == shard.sha256)
