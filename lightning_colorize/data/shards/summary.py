"""What stands beside the shards: names, LitData's index, broken images, and last `pack.json`."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_colorize import __version__
from lightning_colorize.common.errors import WorkError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.data.images import NameList
from lightning_colorize.data.name_list import name_line
from lightning_colorize.data.shards.digest import sha256_of
from lightning_colorize.data.shards.manifest import MANIFEST
from lightning_colorize.data.shards.plan import Plan
from lightning_colorize.data.shards.writer import Packed

BROKEN = "broken.txt"


@dataclass(frozen=True)
class Outcome:
    """What was packed.

    Attributes:
        images: In each split.
        shards: All of them.
        kept: Of these, how many a former attempt had left whole.
        bytes: Of all shards.
        broken: Images that could not be read.
    """

    images: dict[str, int]
    shards: int
    kept: int
    bytes: int
    broken: int


def write_summary(plan: Plan, target: Path, packed: list[Packed], kept: int) -> Outcome:
    """Write all that makes a pack of shards.

    Args:
        plan: What was packed how.
        target: The pack's folder.
        packed: The shards, in the plan's order.
        kept: How many of them were there already.

    Raises:
        WorkError: If there is not a single image.
    """
    broken = [item for shard in packed for item in shard.broken]
    if len(broken) == sum(map(len, plan.names.values())):
        name, reason = broken[0]
        raise WorkError(f"none of {len(broken)} images can be read (first: {name}: {reason})")
    _write_broken(target / BROKEN, broken)
    lost = {name for name, _ in broken}
    # LitData's description of an item, which is the same for all.
    litdata = next(shard.litdata for shard in packed if shard.images)
    splits: dict[str, Any] = {}
    for split, names in plan.names.items():
        own = [s for (of, _), s in zip(plan.shards(), packed, strict=True) if of == split]
        if not any(shard.images for shard in own):
            shutil.rmtree(target / split, ignore_errors=True)  # of a former attempt
            continue
        _write_index(target / split / "index.json", own, litdata)
        whole = NameList(name for name in names if name not in lost)
        splits[split] = {
            "images": len(whole),
            "names": _write_names(target, f"{split}/names", whole),
            "shards": [_without(shard._asdict(), "litdata") for shard in own],
        }
    manifest = {
        **plan.stamp(),
        "versions": {"lightning_colorize": __version__, "litdata": version("litdata")},
        "litdata": litdata,
        "splits": splits,
    }
    write_atomic(target / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return Outcome(
        {split: found["images"] for split, found in splits.items()},
        len(packed),
        kept,
        sum(shard.bytes for shard in packed),
        len(broken),
    )


def _write_names(target: Path, file: str, names: NameList) -> dict[str, Any]:
    path = target / file
    path.write_bytes(names.lines())
    return {"file": file, "bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _write_index(path: Path, shards: list[Packed], litdata: Any) -> None:
    """Write what LitData's own merge of the indices would, but for the time, to the same bytes."""
    chunks = [
        {
            "chunk_bytes": shard.bytes,
            "chunk_size": shard.images,
            "dim": None,
            "filename": Path(shard.file).name,
        }
        for shard in shards
        if shard.images
    ]
    write_atomic(path, json.dumps({"chunks": chunks, "config": litdata}, sort_keys=True))


def _write_broken(path: Path, broken: list[tuple[str, str]]) -> None:
    if broken:
        lines = (f"# {reason}\n{name_line(name)}\n" for name, reason in broken)
        text = "".join(lines)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    else:
        path.unlink(missing_ok=True)


def _without(found: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != name}
