"""Assigns images to shards before the first image is read."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.image_set import ImageSet, NameList, Notes
from lightning_colorize.data.shards.manifest import VERSION, Encoding, PackSettings
from lightning_colorize.data.splits import name_hashes

# Large enough for one request, small enough to cache several.
_SHARD_BYTES = 2**25

# Measured on JPEGs of quality 95 without chroma subsampling.
_BYTES_PER_PIXEL = {"jpeg": 0.6, "uint8": 3.0}

# LitData's offsets are uint32.
_MAX_BYTES = 2**32


def pack_settings(
    size: int, encoding: Encoding, quality: int, images_per_shard: int | None
) -> PackSettings:
    """Return the settings; a shard has at most 4 GiB, by default about 32 MiB."""
    image = _BYTES_PER_PIXEL[encoding] * 1.5 * size**2  # of an image of 3:2
    count = images_per_shard or max(1, round(_SHARD_BYTES / image))
    # Some images are longer than 3:2, at most 4:1.
    if count * image * 3 > _MAX_BYTES:
        raise UsageError(
            f"--images-per-shard {count}: a shard must be below 4 GiB, at this size and "
            f"encoding at most {int(_MAX_BYTES / image / 3)} images"
        )
    return PackSettings(
        size=size,
        encoding=encoding,
        quality=quality if encoding == "jpeg" else None,
        images_per_shard=count,
    )


@dataclass(frozen=True)
class PackPlan:
    """The assignment of images to shards."""

    folder: Path
    settings: PackSettings
    names: dict[str, NameList]
    notes: dict[str, Notes]

    def shards(self) -> list[tuple[str, int]]:
        """Return the split and index of each shard."""
        each = self.settings.images_per_shard
        return [
            (split, index)
            for split, names in self.names.items()
            for index in range(-(-len(names) // each))
        ]

    def names_of(self, split: str, index: int) -> list[str]:
        """Return the images of a shard."""
        names, each = self.names[split], self.settings.images_per_shard
        return [names[i] for i in range(index * each, min((index + 1) * each, len(names)))]

    def sources_of(self, split: str, index: int) -> str:
        """Return a digest of the names, lengths and times of a shard's image files.

        It is empty if one of them cannot be accessed.
        """
        try:
            found = [(name, (self.folder / name).stat()) for name in self.names_of(split, index)]
        except OSError:
            return ""
        files = [(name, status.st_size, status.st_mtime_ns) for name, status in found]
        return hashlib.sha256(repr(files).encode()).hexdigest()

    def stamp(self) -> dict[str, Any]:
        """Return the values that must be equal to continue an unfinished pack."""
        return {
            "version": VERSION,
            "settings": self.settings.model_dump(),
            # Only its name: the folder may be moved, and the pack may be published.
            "folder": os.path.basename(os.path.abspath(self.folder)),
            "source": {
                split: {"images": len(names), "names": hashlib.sha256(names.lines()).hexdigest()}
                for split, names in self.names.items()
            },
        }


def make_plan(folder: Path, splits: Mapping[str, ImageSet], settings: PackSettings) -> PackPlan:
    """Put the images of each split into a random order that depends on their names alone.

    Each shard is then a mixture of all classes and all shoots.
    """
    plan = PackPlan(folder, settings, {}, {})
    for split, images in splits.items():
        own = [images.name(index) for index in range(len(images))]
        order = np.argsort(name_hashes(own, salt="shards"), kind="stable")
        plan.names[split] = NameList(own[i] for i in order)
        plan.notes[split] = images.notes.take(order)
    return plan
