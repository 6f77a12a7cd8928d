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
    """A file of a pack.

    Attributes:
        file: Its name relative to the pack, with forward slashes.
        bytes: Its length.
        sha256: In hexadecimal digits; empty for a shard without images, which has no file.
    """

    file: Annotated[str, AfterValidator(_inside)]
    bytes: NonNegativeInt
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]


class Shard(PackedFile):
    """A shard and its number of images."""

    images: NonNegativeInt


class PackedSplit(_Strict):
    """A split.

    Attributes:
        names: The file with the images' names, each terminated by NUL, in the order of the shards.
        shards: Its shards.
        labels: The file with the images' class names, in the same form; None if there are none.
        texts: The file with the images' texts, in the same form; None if there are none.
    """

    names: PackedFile
    labels: PackedFile | None = None
    texts: PackedFile | None = None
    shards: Annotated[list[Shard], Field(min_length=1)]


class PackSettings(_Strict):
    """How the images are packed.

    Attributes:
        size: Pixels of the short side; smaller images are not resized.
        encoding: jpeg, or decoded as uint8.
        quality: JPEG quality, 1 to 100, without chroma subsampling; None for uint8.
        images_per_shard: Images of a shard, broken ones included. The last shard has fewer.
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
    """Parse and validate `pack.json`, which may come from an untrusted URL.

    Raises:
        UsageError: If it is of another version, or not a manifest.
    """
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
