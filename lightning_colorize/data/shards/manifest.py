"""`pack.json`: the contents of a pack, with a SHA-256 of every file."""

import json
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)

from lightning_colorize.common.errors import UsageError, first_line

MANIFEST = "pack.json"
"""Written last: a folder without it is an unfinished pack."""

VERSION = 1

Encoding = Literal["jpeg", "uint8"]


def _inside(file: str) -> str:
    """Refuse a name that could lead out of the pack: the manifest may come from any URL."""
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError("not the name of a file in a pack")
    return file


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class PackedFile(_Strict):
    """A file of a pack, named relative to it, with forward slashes.

    `sha256` is in hexadecimal digits; empty for a shard without images, which has no file.
    """

    file: Annotated[str, AfterValidator(_inside)]
    bytes: NonNegativeInt
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]


class Shard(PackedFile):
    """A shard and its number of images."""

    images: NonNegativeInt


class PackedSplit(_Strict):
    """A split.

    The file `names` has each name terminated by NUL, in the order of the shards. `labels` and
    `texts` are files in the same form; None if there are none.
    """

    names: PackedFile
    labels: PackedFile | None = None
    texts: PackedFile | None = None
    shards: Annotated[list[Shard], Field(min_length=1)]


class PackSettings(_Strict):
    """How the images are packed.

    `size` is the short side in pixels; smaller images are not resized. JPEG quality is 1 to 100,
    without chroma subsampling; None for uint8. Broken images count as images of a shard; the last
    one has fewer.
    """

    size: PositiveInt
    encoding: Encoding
    quality: int | None
    images_per_shard: PositiveInt


class Pack(_Strict):
    """The contents of `pack.json`, of which `splits` lists only splits that contain images."""

    version: Literal[1]
    settings: PackSettings
    splits: Annotated[dict[str, PackedSplit], Field(min_length=1)]


def parse_manifest(content: bytes, location: str) -> Pack:
    """Parse and validate `pack.json`, which may come from an untrusted URL."""
    try:
        # Not by pydantic, which refuses names of broken images that are not UTF-8.
        return Pack.model_validate(json.loads(content))
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(map(str, wrong["loc"]))
        problem = f"{key} is {wrong['input']!r:.80}: {wrong['msg']}"
    except (ValueError, RecursionError) as error:
        problem = first_line(error)
    raise UsageError(
        f"{location} is not a manifest that this lightning-colorize reads ({problem}): run pack "
        "again, or install the version that wrote it"
    )
