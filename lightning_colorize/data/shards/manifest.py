"""`pack.json`: what a folder of shards holds, with a SHA-256 of every file in it."""

import json
import re
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, get_args

from lightning_colorize.common.errors import UsageError

MANIFEST = "pack.json"
"""Written last: a folder without it is not packed to the end."""

VERSION = 1

Encoding = Literal["jpeg", "uint8"]

_SHA256 = re.compile("[0-9a-f]{64}")


class PackedFile(NamedTuple):
    """A file of a pack.

    Attributes:
        file: Its name relative to the pack, with forward slashes.
        bytes: Its length.
        sha256: In hexadecimal digits.
    """

    file: str
    bytes: int
    sha256: str


class Shard(NamedTuple):
    """A shard.

    Attributes:
        file: The file.
        images: How many are in it.
    """

    file: PackedFile
    images: int


class PackedSplit(NamedTuple):
    """A split.

    Attributes:
        names: The file of the images' names, each ended by a NUL, in the order of the shards.
        shards: Those that hold an image.
    """

    names: PackedFile
    shards: list[Shard]


class Pack(NamedTuple):
    """What `pack.json` says.

    Attributes:
        size: Pixels of the short side that larger images were brought to.
        encoding: How they are stored.
        splits: Those that there are.
    """

    size: int
    encoding: Encoding
    splits: dict[str, PackedSplit]


def parse_manifest(content: bytes, place: str) -> Pack:
    """Read `pack.json`, which may come from an address that anybody writes to.

    Args:
        content: What is in the file.
        place: Where it lies, for the error.

    Raises:
        UsageError: If it is of another version, or not a manifest.
    """
    try:
        found = json.loads(content)
        if (version := found["version"]) == VERSION:
            splits = {name: _split(split) for name, split in found["splits"].items()}
            if not splits:
                raise ValueError("no splits")
            settings = found["settings"]
            return Pack(_count(settings["size"]), _one_of_encodings(settings["encoding"]), splits)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{place} is not what pack writes ({type(error).__name__}: {error}): pack anew"
        ) from error
    raise UsageError(
        f"{place} is of version {version}, this lightning-colorize reads version {VERSION}: "
        "pack anew, or change the one or the other"
    )


def _split(found: dict[str, Any]) -> PackedSplit:
    shards = [
        Shard(_file(shard), _count(shard["images"])) for shard in found["shards"] if shard["images"]
    ]
    if not shards:
        raise ValueError("a split without shards")
    return PackedSplit(_file(found["names"]), shards)


def _file(found: dict[str, Any]) -> PackedFile:
    """Return a file whose names, of which paths are made, lead nowhere else."""
    file, sha256 = found["file"], found["sha256"]
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError(f"{file!r} is no name of a file in a pack")
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256!r} is no SHA-256")
    return PackedFile(file, _count(found["bytes"]), sha256)


def _count(found: Any) -> int:
    if type(found) is not int or found < 1:
        raise ValueError(f"{found!r} is no number above 0")
    return found


def _one_of_encodings(found: Any) -> Encoding:
    if found not in get_args(Encoding):
        raise ValueError(f"{found!r} is no encoding")
    encoding: Encoding = found
    return encoding
