"""`pack.json`: the contents of a pack, with a SHA-256 of every file."""

import hashlib
import json
import re
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, get_args

from lightning_colorize.common.errors import UsageError

MANIFEST = "pack.json"
"""Written last: a folder without it is an unfinished pack."""

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
    """A shard and its number of images."""

    file: PackedFile
    images: int


class PackedSplit(NamedTuple):
    """A split.

    Attributes:
        names: The file with the images' names, each terminated by NUL, in the order of the shards.
        shards: The shards that contain an image.
    """

    names: PackedFile
    shards: list[Shard]


class Pack(NamedTuple):
    """The contents of `pack.json`.

    Attributes:
        size: Pixels of the short side to which larger images were resized.
        encoding: How the images are stored.
        splits: The splits that contain images.
    """

    size: int
    encoding: Encoding
    splits: dict[str, PackedSplit]


def sha256_of(file: Path | BufferedReader) -> str:
    """Return the SHA-256 of a file or of an open file, in hexadecimal digits."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return sha256_of(opened)
    return hashlib.file_digest(file, "sha256").hexdigest()


def parse_manifest(content: bytes, location: str) -> Pack:
    """Parse and validate `pack.json`, which may come from an untrusted URL.

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
            return Pack(_count(settings["size"]), _encoding(settings["encoding"]), splits)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"{location} is not a manifest of pack ({reason}): run pack again"
        ) from error
    raise UsageError(
        f"{location} is of version {version}, this lightning-colorize reads version {VERSION}: "
        "run pack again, or install the matching version"
    )


def _split(found: dict[str, Any]) -> PackedSplit:
    shards = [
        Shard(_file(shard), _count(shard["images"])) for shard in found["shards"] if shard["images"]
    ]
    if not shards:
        raise ValueError("a split without shards")
    return PackedSplit(_file(found["names"]), shards)


def _file(found: dict[str, Any]) -> PackedFile:
    """Return a file whose name, of which a path is made, stays inside the pack."""
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


def _encoding(found: Any) -> Encoding:
    if found not in get_args(Encoding):
        raise ValueError(f"{found!r} is no encoding")
    encoding: Encoding = found
    return encoding
