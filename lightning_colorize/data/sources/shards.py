"""Images packed into shards by `lightning-colorize pack`."""

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import cache_folder, require_writable
from lightning_colorize.data.image_set import NameList, Notes
from lightning_colorize.data.shards.check import CheckedShards
from lightning_colorize.data.shards.image_set import ShardImages
from lightning_colorize.data.shards.manifest import MANIFEST, Pack, PackedFile, parse_manifest
from lightning_colorize.data.shards.store import FolderStore, RemoteStore, Store, one_line
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits
from lightning_colorize.data.sources.listing import listed_names, require_folder


class ShardSource(Source):
    """Images packed into shards by `lightning-colorize pack`, in a folder or at a URL.

    Any URL that fsspec supports works, such as `s3://bucket/shards`. Shards are prefetched and
    cached. Each shard is verified by its SHA-256 when it is first opened. The splits, labels and
    texts are those that were packed.

    Args:
        on_corrupt: If a shard is missing or damaged: `stop` the run, or `skip` the shard, whose
            images then count as broken.
        window: Number of shards whose images are shuffled together in training.
        exclude_list: Text file of names to leave out, as in the folder that was packed, such as a
            run's `broken.txt`.
        cache_dir: Cache of fetched shards, by default below `~/.cache`. Choose a fast local disk.
        max_cache_bytes: Size limit of the cache; the least recently opened shards are deleted
            first. No limit by default.
        storage_options: Options of fsspec's file system, such as `{anon: true}`. They are stored
            in the run's configuration: pass secrets through environment variables instead.
    """

    def __init__(
        self,
        on_corrupt: Literal["stop", "skip"] = "stop",
        window: int = 8,
        exclude_list: Path | None = None,
        cache_dir: Path | None = None,
        max_cache_bytes: int | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        if window < 1:
            raise SourceError(f"window is {window}: it must be at least 1")
        self.on_corrupt = on_corrupt
        self.window = window
        self.exclude_list = exclude_list
        self.cache_dir = cache_dir
        self.max_cache_bytes = max_cache_bytes
        self.storage_options = storage_options or {}

    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split that was packed.

        Raises:
            SourceError: If `pack.json` is missing or cannot be read, or `max_cache_bytes` is too
                small.
        """
        store = self._store(root)
        pack = parse_manifest(_read(store, MANIFEST), store.locate(MANIFEST))
        self._require_cache_size(pack)
        names = {split: _names(store, packed.names) for split, packed in pack.splits.items()}
        excluded: set[str] = set()
        if self.exclude_list is not None:  # a million strings are made only if needed
            every = [name for own in names.values() for name in own]
            excluded = listed_names(self.exclude_list, every, root)
        splits: Splits = {}
        for split, own in names.items():
            packed = pack.splits[split]
            columns = (packed.labels, packed.texts)
            notes = Notes(*(None if file is None else _names(store, file) for file in columns))
            selected: np.ndarray = np.arange(len(own))
            if excluded:
                selected = selected[[name not in excluded for name in own]]
                notes = notes.take(selected)
            if len(selected):
                shards = [shard for shard in packed.shards if shard.images]
                checked = CheckedShards(store, shards, self.on_corrupt == "skip")
                splits[split] = ShardImages(
                    checked, own, pack.settings, self.window, selected, notes
                )
        return splits

    def _store(self, root: Root | None) -> Store:
        if isinstance(root, str):
            cache = (self.cache_dir or cache_folder("shards")).expanduser()
            require_writable(cache / "new", "cache_dir:")
            return RemoteStore(root, cache, self.max_cache_bytes, self.storage_options)
        return FolderStore(require_folder(root, "ShardSource"))

    def _require_cache_size(self, pack: Pack) -> None:
        largest = max(shard.bytes for part in pack.splits.values() for shard in part.shards)
        # The window in use, the next one, and a shard that is being fetched.
        needed = (2 * self.window + 1) * largest * self.processes
        if self.max_cache_bytes is not None and self.max_cache_bytes < needed:
            count = f"{self.processes} process{'es' * (self.processes > 1)}"
            raise SourceError(
                f"max_cache_bytes is {self.max_cache_bytes:,}: a window of {self.window} shards "
                f"needs {needed:,} for {count} of this machine, so raise it, or lower window"
            )


def is_pack(root: Path) -> bool:
    """Return whether a folder contains packed shards."""
    return os.path.isfile(root / MANIFEST)  # False where the folder cannot be entered


def _read(store: Store, file: str) -> bytes:
    try:
        return store.read(file)
    except UsageError:
        raise
    except FileNotFoundError:
        raise SourceError(
            f"{store.locate(file)} does not exist: ShardSource needs a finished pack of "
            "lightning-colorize pack"
        ) from None
    except Exception as error:  # file systems raise classes of their own
        raise SourceError(f"{store.locate(file)} cannot be read: {one_line(error)}") from error


def _names(store: Store, listed: PackedFile) -> NameList:
    content = _read(store, listed.file)
    if hashlib.sha256(content).hexdigest() != listed.sha256:
        raise SourceError(
            f"{store.locate(listed.file)} is damaged (its SHA-256 is not the one in "
            f"{MANIFEST}): run pack again"
        )
    return NameList.of_lines(content)
