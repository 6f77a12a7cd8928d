"""Writes the shards with LitData's writer, then the names, indices and `pack.json`."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from lightning_colorize import __version__
from lightning_colorize.common.errors import WorkError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.decoding.files import ImageError, read_image
from lightning_colorize.data.image_set import NameList
from lightning_colorize.data.name_list import name_with_reason
from lightning_colorize.data.shards.manifest import MANIFEST, PackSettings
from lightning_colorize.data.shards.plan import PackPlan

BROKEN = "broken.txt"


class WrittenShard(NamedTuple):
    """A shard that has been written; an empty one has no file.

    `file` is relative to the pack. `broken` has the name and reason of each image that could not be
    read, `litdata` LitData's description of an item, and `sources` a digest of the image files;
    empty if it is unknown.
    """

    file: str
    images: int
    bytes: int
    sha256: str
    broken: list[tuple[str, str]]
    litdata: dict[str, Any] | None
    sources: str = ""


@dataclass(frozen=True)
class PackSummary:
    """The result of packing."""

    images: dict[str, int]
    shards: int
    reused: int
    bytes: int
    broken: int


def write_shard(
    folder: Path, names: list[str], settings: PackSettings, pack: Path, file: str, scratch: Path
) -> WrittenShard:
    """Write a shard; the file appears only when it is complete.

    The names are relative to `folder`. `file` is the shard's name in the pack, in LitData's
    pattern: `train/chunk-0-12.bin`. `scratch` is on the same disk, used by this shard alone.
    """
    from litdata.streaming.writer import BinaryWriter  # type: ignore[import-untyped]

    shutil.rmtree(scratch, ignore_errors=True)
    writer = BinaryWriter(str(scratch), chunk_size=settings.images_per_shard)
    broken = []
    count = 0
    for name in names:
        try:
            rgb = _resized(read_image(folder / name, settings.size), settings.size)
        except ImageError as error:
            broken.append((name, error.reason))
            continue
        # LitData requires UTF-8 names. The exact names are in a file next to the shards.
        label = os.fsencode(name).decode("utf-8", "replace")
        writer.add_item(count, {"image": _encoded(rgb, settings), "name": label})
        count += 1
    target = pack / file
    if not count:
        target.unlink(missing_ok=True)  # written by an earlier run, before its images were broken
        return WrittenShard(file, 0, 0, "", broken, None)
    (written,) = writer.done()
    (index,) = scratch.glob("*index.json")
    config = json.loads(index.read_text())["config"]
    content = Path(written).read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(written, target)
    shutil.rmtree(scratch)
    sha256 = hashlib.sha256(content).hexdigest()
    return WrittenShard(file, count, len(content), sha256, broken, config)


def _resized(rgb: Tensor, size: int) -> Tensor:
    """Return (3, H, W), uint8, with a short side of at most `size` pixels."""
    rgb = limit_length(rgb)
    return rgb if min(rgb.shape[-2:]) <= size else resize_short_side(rgb, size)


def _encoded(rgb: Tensor, settings: PackSettings) -> Any:
    """Return a tensor or a JPEG file, as LitData stores it."""
    if settings.encoding == "uint8":
        return rgb.contiguous()
    from litdata.types import Jpeg  # type: ignore[import-untyped]

    file = BytesIO()
    image = Image.fromarray(rgb.permute(1, 2, 0).numpy())
    # Chroma is the training target: subsampling would halve its resolution.
    image.save(file, "JPEG", quality=settings.quality, subsampling=0)
    return Jpeg(bytes=file.getvalue())


def write_summary(
    plan: PackPlan, target: Path, shards: list[WrittenShard], reused: int
) -> PackSummary:
    """Write the names, LitData's indices, the list of broken images, and last `pack.json`.

    Raises:
        WorkError: If no image can be read.
    """
    broken = [item for shard in shards for item in shard.broken]
    if len(broken) == sum(map(len, plan.names.values())):
        name, reason = broken[0]
        raise WorkError(f"none of {len(broken)} images can be read (first: {name}: {reason})")
    listed = "".join(name_with_reason(*item) for item in broken)
    if listed:
        (target / BROKEN).write_text(listed, encoding="utf-8", errors="surrogateescape")
    else:
        (target / BROKEN).unlink(missing_ok=True)
    lost = {name for name, _ in broken}
    # LitData's description of an item is the same for all.
    litdata = next(shard.litdata for shard in shards if shard.images)
    splits: dict[str, Any] = {}
    for split, names in plan.names.items():
        own = [s for (of, _), s in zip(plan.shards(), shards, strict=True) if of == split]
        if not any(shard.images for shard in own):
            shutil.rmtree(target / split, ignore_errors=True)  # of an earlier run
            continue
        _write_index(target / split / "index.json", own, litdata)
        readable = [index for index, name in enumerate(names) if name not in lost]
        columns = {"names": names, **plan.notes[split]._asdict()}
        splits[split] = {
            "images": len(readable),
            **{
                column: _write_names(target, f"{split}/{column}", values, readable)
                for column, values in columns.items()
                if values is not None
            },
            "shards": [{k: v for k, v in s._asdict().items() if k != "litdata"} for s in own],
        }
    manifest = {
        **plan.stamp(),
        "versions": {"lightning_colorize": __version__, "litdata": version("litdata")},
        "litdata": litdata,
        "splits": splits,
    }
    write_atomic(target / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    images = {split: found["images"] for split, found in splits.items()}
    total = sum(shard.bytes for shard in shards)
    return PackSummary(images, len(shards), reused, total, len(broken))


def _write_names(target: Path, file: str, names: NameList, readable: list[int]) -> dict[str, Any]:
    content = NameList(names[index] for index in readable).lines()
    (target / file).write_bytes(content)
    return {"file": file, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _write_index(path: Path, shards: list[WrittenShard], litdata: Any) -> None:
    """Write the index that LitData would merge from the shards' indices, without a time stamp."""
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
