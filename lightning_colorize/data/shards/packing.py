"""A folder of images to shards: in parallel, and going on where a former attempt was stopped."""

import importlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch.utils.data import DataLoader, Dataset

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.progress import progress
from lightning_colorize.data.shards.digest import sha256_of
from lightning_colorize.data.shards.manifest import MANIFEST, parse_manifest
from lightning_colorize.data.shards.plan import Plan
from lightning_colorize.data.shards.summary import Outcome, write_summary
from lightning_colorize.data.shards.writer import Packed, write_shard

# While a pack is being made; deleted when `pack.json` is written.
_WORK = ".packing"
_PLAN = f"{_WORK}/plan.json"

# Seconds in which the workers of a command that was killed have ended, too.
_PATIENCE = 10.0


def pack(plan: Plan, target: Path, workers: int) -> Outcome:
    """Write the shards that are not there yet, and then `pack.json`.

    The files are the same bytes whatever the number of workers, and however often it was stopped.

    Args:
        plan: What is packed how.
        target: The folder; it may hold what a former attempt at the same plan has left.
        workers: Processes that read and write; 0 for this one.

    Raises:
        UsageError: If the folder holds something else, another process packs into it, or LitData
            is missing.
        WorkError: If none of the images can be read, or the disk is full.
    """
    _require_litdata()
    try:
        with _claimed(plan, target):
            packed, kept = _write_shards(_Jobs(plan, target), workers)
            outcome = write_summary(plan, target, packed, kept)
            shutil.rmtree(target / _WORK)
    except OSError as error:
        raise WorkError(
            f"{error.filename or target}: {error.strerror}; whole shards are kept, run the same "
            "command again"
        ) from error
    return outcome


class _Jobs(Dataset[tuple[Packed, bool] | OSError]):
    """The shards of a plan: asking for one writes it, unless it is there.

    What the disk refuses is returned, because from a worker only text would arrive of what it
    raises.
    """

    def __init__(self, plan: Plan, target: Path) -> None:
        self.plan = plan
        self.target = target
        self.shards = plan.shards()
        self.former = _finished(target)

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> tuple[Packed, bool] | OSError:
        split, number = self.shards[index]
        file = f"{split}/chunk-0-{number}.bin"  # LitData's name for it
        work = self.target / _WORK / f"{split}-{number}"
        record = work.with_suffix(".json")
        try:
            # Before they are read: what changes meanwhile is packed again by the next attempt.
            sources = self.plan.sources_of(split, number)
            former = _read_record(record) or self.former.get(file)
            # Photographs that are out of reach are no reason to give up what was made of them.
            if former and sources in (former.sources, "") and _is_there(self.target, former):
                return former, True
            names = self.plan.names_of(split, number)
            settings = self.plan.settings
            packed = write_shard(self.plan.folder, names, settings, self.target, file, work)
            packed = packed._replace(sources=sources)
            write_atomic(record, json.dumps(packed._asdict()))
        except OSError as error:
            return error
        return packed, False


def _write_shards(jobs: _Jobs, workers: int) -> tuple[list[Packed], int]:
    """Return the shards in the plan's order, and how many of them were there already."""
    loader: DataLoader[Any] = DataLoader(
        jobs,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=1 if workers else None,
        collate_fn=_as_it_is,
        worker_init_fn=_end_with_parent,
    )
    kept = 0
    packed = []
    for result in progress(loader, len(jobs), "packing shards"):
        if isinstance(result, OSError):
            raise result
        shard, was_there = result
        packed.append(shard)
        kept += was_there
    return packed, kept


def _as_it_is(item: Any) -> Any:
    return item


def _end_with_parent(worker: int) -> None:
    """End this process soon after its parent was killed; torch looks only between two shards."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _require_litdata() -> None:
    # Here and not in each worker: it takes seconds, and forked processes have it then.
    try:
        importlib.import_module("litdata")
    except ImportError:
        raise UsageError("pack needs litdata: pip install 'lightning-colorize[shards]'") from None


@contextmanager
def _claimed(plan: Plan, target: Path) -> Iterator[None]:
    """Keep other processes out of the folder, once it is known to hold nothing else."""
    stamp = plan.stamp()
    _require_same(target, stamp)
    (target / _WORK).mkdir(parents=True, exist_ok=True)
    lock = FileLock(target / _WORK / "lock")
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        raise UsageError(f"another process packs into {target}: let it end") from None
    with lock:
        _require_same(target, stamp)
        write_atomic(target / _PLAN, json.dumps(stamp))
        yield


def _require_same(target: Path, stamp: dict[str, Any]) -> None:
    """Refuse a folder with anything in it but a whole or unfinished pack by the same plan."""
    place = next((name for name in (MANIFEST, _PLAN) if (target / name).is_file()), None)
    if place is None:
        if target.exists() and any(entry.name != _WORK for entry in target.iterdir()):
            raise UsageError(f"{target} is not empty, and no pack: name a new folder")
        return
    content = (target / place).read_bytes()
    if place == MANIFEST:
        parse_manifest(content, str(target / place))  # says in one line what is wrong with it
    former = json.loads(content)
    for name, value in stamp["settings"].items():
        if (was := former["settings"].get(name)) != value:
            raise UsageError(
                f"{target} is packed with {name} {was}, not {value}: name another folder, or "
                "delete it"
            )
    if any(former.get(name) != value for name, value in stamp.items()):
        raise UsageError(
            f"{target} is packed from other images than there are now: name another folder, or "
            "delete it"
        )


def _finished(target: Path) -> dict[str, Packed]:
    """Return the shards of a pack that is made to the end."""
    if not (target / MANIFEST).is_file():
        return {}
    found = json.loads((target / MANIFEST).read_text())
    shards = [shard for split in found["splits"].values() for shard in split["shards"]]
    return {shard["file"]: Packed(**shard, litdata=found["litdata"]) for shard in shards}


def _read_record(record: Path) -> Packed | None:
    try:
        return Packed(**json.loads(record.read_text()))
    except FileNotFoundError:
        return None


def _is_there(target: Path, former: Packed) -> bool:
    """Return whether a shard is as it was written; one without images has no file."""
    path = target / former.file
    return not former.images or (path.is_file() and sha256_of(path) == former.sha256)
