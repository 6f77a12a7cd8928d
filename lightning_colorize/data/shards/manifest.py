"""`pack.json`: what a folder of shards holds, with a SHA-256 of every file in it."""

import json
from typing import Any, Literal, NamedTuple

from lightning_colorize.errors import UsageError

MANIFEST = "pack.json"
"""Written last: a folder without it is not packed to the end."""

VERSION = 1

Encoding = Literal["jpeg", "uint8"]


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
        pictures: How many are in it.
    """

    file: PackedFile
    pictures: int


class PackedSplit(NamedTuple):
    """A split.

    Attributes:
        names: The file of the pictures' names, each ended by a NUL, in the order of the shards.
        shards: Those that hold a picture.
    """

    names: PackedFile
    shards: list[Shard]


class Pack(NamedTuple):
    """What `pack.json` says.

    Attributes:
        size: Pixels of the short side that larger pictures were brought to.
        encoding: How they are stored.
        splits: Those that there are.
    """

    size: int
    encoding: Encoding
    splits: dict[str, PackedSplit]


def parse_manifest(text: str, place: str) -> Pack:
    """Read `pack.json`.

    Args:
        text: Its content.
        place: Where it lies, for the error.

    Raises:
        UsageError: If it is of another version, or not a manifest.
    """
    try:
        found = json.loads(text)
        if found["version"] != VERSION:
            raise UsageError(
                f"{place} is of version {found['version']}, this lightning-colorize reads version "
                f"{VERSION}: pack anew, or change the one or the other"
            )
        splits = {name: _split(split) for name, split in found["splits"].items()}
        return Pack(found["settings"]["size"], found["settings"]["encoding"], splits)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UsageError(
            f"{place} is not what pack writes ({type(error).__name__}: {error}): pack anew"
        ) from error


def _split(found: dict[str, Any]) -> PackedSplit:
    shards = [
        Shard(PackedFile(shard["file"], shard["bytes"], shard["sha256"]), shard["pictures"])
        for shard in found["shards"]
        if shard["pictures"]
    ]
    return PackedSplit(PackedFile(**found["names"]), shards)
