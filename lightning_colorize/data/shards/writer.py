"""One shard, written by LitData's own writer."""

import hashlib
import json
import os
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.decoding.files import ImageError, read_image
from lightning_colorize.data.shards.plan import PackSettings


class Packed(NamedTuple):
    """A shard that is written.

    Attributes:
        file: Its name relative to the pack.
        images: How many it holds; if 0, there is no file.
        bytes: Its length.
        sha256: In hexadecimal digits.
        broken: Name of each image that could not be read, and why.
        litdata: What LitData's index says of how it is to be read.
        sources: A digest of the files that it was made of; empty where that is not known.
    """

    file: str
    images: int
    bytes: int
    sha256: str
    broken: list[tuple[str, str]]
    litdata: dict[str, Any] | None
    sources: str = ""


def prepared(rgb: Tensor, size: int) -> Tensor:
    """Return an image as it is packed: its short side at `size`, never enlarged.

    Args:
        rgb: (3, H, W), uint8.
        size: Pixels.
    """
    rgb = limit_length(rgb)
    return rgb if min(rgb.shape[-2:]) <= size else resize_short_side(rgb, size)


def write_shard(
    folder: Path, names: list[str], settings: PackSettings, pack: Path, file: str, scratch: Path
) -> Packed:
    """Write a shard; it appears at its place when it is whole.

    Args:
        folder: Where the images are.
        names: Which, relative to the folder.
        settings: How they are packed.
        pack: The pack's folder.
        file: The shard's name in it, as LitData has it: `train/chunk-0-12.bin`.
        scratch: A folder on the same disk, of this shard's own.
    """
    from litdata.streaming.writer import BinaryWriter  # type: ignore[import-untyped]

    shutil.rmtree(scratch, ignore_errors=True)
    writer = BinaryWriter(str(scratch), chunk_size=settings.images_per_shard)
    broken = []
    count = 0
    for name in names:
        try:
            rgb = prepared(read_image(folder / name, settings.size), settings.size)
        except ImageError as error:
            broken.append((name, error.reason))
            continue
        # LitData takes no names that are not UTF-8; ours stand in a file beside the shards.
        label = os.fsencode(name).decode("utf-8", "replace")
        writer.add_item(count, {"image": _encoded(rgb, settings), "name": label})
        count += 1
    target = pack / file
    if not count:
        target.unlink(missing_ok=True)  # of a former attempt, before its images were broken
        return Packed(file, 0, 0, "", broken, None)
    (written,) = writer.done()
    (index,) = scratch.glob("*index.json")
    config = json.loads(index.read_text())["config"]
    content = Path(written).read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(written, target)
    shutil.rmtree(scratch)
    return Packed(file, count, len(content), hashlib.sha256(content).hexdigest(), broken, config)


def _encoded(rgb: Tensor, settings: PackSettings) -> Any:
    """Return what LitData stores as a tensor, or as the bytes of a JPEG file."""
    if settings.encoding == "uint8":
        return rgb.contiguous()
    from litdata.types import Jpeg  # type: ignore[import-untyped]

    file = BytesIO()
    image = Image.fromarray(rgb.permute(1, 2, 0).numpy())
    # Without subsampling: half the colours' resolution is half of what is to be learnt here.
    image.save(file, "JPEG", quality=settings.quality, subsampling=0)
    return Jpeg(bytes=file.getvalue())
