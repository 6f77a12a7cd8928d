"""What is packed into which shard: settled before the first image is read."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.images import NameList
from lightning_colorize.data.shards.manifest import VERSION, Encoding
from lightning_colorize.data.splits import name_hashes

# What a shard is to hold, about: large enough for one request, small enough for several at hand.
_SHARD_BYTES = 2**25

# Of images of 3:2; for JPEG of quality 95 without chroma subsampling as measured.
_BYTES_PER_PIXEL = {"jpeg": 0.6, "uint8": 3.0}

# LitData's offsets are uint32.
_MOST_BYTES = 2**32


@dataclass(frozen=True)
class PackSettings:
    """How images are packed.

    Attributes:
        size: Pixels of the short side; smaller images stay as they are.
        encoding: jpeg, or decoded as uint8.
        quality: Of JPEG, 1 to 100; colours are not subsampled.
        images_per_shard: How many, but for broken ones and in the last shard.
    """

    size: int
    encoding: Encoding
    quality: int | None
    images_per_shard: int


def pack_settings(
    size: int, encoding: Encoding, quality: int, images_per_shard: int | None
) -> PackSettings:
    """Return the settings, with as many images in a shard as make about 32 MiB by default.

    Raises:
        UsageError: If a shard would hold more than 4 GiB.
    """
    image = _BYTES_PER_PIXEL[encoding] * 1.5 * size**2
    count = images_per_shard or max(1, round(_SHARD_BYTES / image))
    # Some images are longer than 3:2, at most 4:1.
    if count * image * 3 > _MOST_BYTES:
        raise UsageError(
            f"--images-per-shard {count}: a shard holds less than 4 GiB, at this size and "
            f"encoding at most {int(_MOST_BYTES / image / 3)} images"
        )
    return PackSettings(size, encoding, quality if encoding == "jpeg" else None, count)


@dataclass(frozen=True)
class Plan:
    """What is packed how.

    Attributes:
        folder: Where the images are.
        settings: How they are packed.
        names: The images of each split, in the order of the shards.
    """

    folder: Path
    settings: PackSettings
    names: dict[str, NameList]

    def shards(self) -> list[tuple[str, int]]:
        """Return the split and number of each shard."""
        each = self.settings.images_per_shard
        return [
            (split, number)
            for split, names in self.names.items()
            for number in range(-(-len(names) // each))
        ]

    def names_of(self, split: str, number: int) -> list[str]:
        """Return the images of a shard."""
        names, each = self.names[split], self.settings.images_per_shard
        return [names[i] for i in range(number * each, min((number + 1) * each, len(names)))]

    def sources_of(self, split: str, number: int) -> str:
        """Return a digest that changes with the files of a shard: names, lengths and times.

        It is empty where a file cannot be looked at.
        """
        try:
            found = [(name, (self.folder / name).stat()) for name in self.names_of(split, number)]
        except OSError:
            return ""
        files = [(name, status.st_size, status.st_mtime_ns) for name, status in found]
        return hashlib.sha256(repr(files).encode()).hexdigest()

    def stamp(self) -> dict[str, Any]:
        """Return what all attempts at a pack have in common; the files may change meanwhile."""
        return {
            "version": VERSION,
            "settings": asdict(self.settings),
            # Its name alone: a folder may be moved, and a pack is given to others.
            "folder": os.path.basename(os.path.abspath(self.folder)),
            "source": {
                split: {"images": len(names), "names": hashlib.sha256(names.lines()).hexdigest()}
                for split, names in self.names.items()
            },
        }


def make_plan(folder: Path, splits: Mapping[str, Sequence[str]], settings: PackSettings) -> Plan:
    """Put the images of each split into a random order that depends on their names alone.

    Each shard is then a mixture of all classes and all shoots.

    Args:
        folder: The folder with the images.
        splits: The names of each split's images, relative to the folder.
        settings: How the images are packed.
    """
    names = {}
    for split, own in splits.items():
        order = np.argsort(name_hashes(own, salt="shards"), kind="stable")
        names[split] = NameList(own[i] for i in order)
    return Plan(folder, settings, names)
