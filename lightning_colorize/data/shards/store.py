"""Access to the files of a pack, in a local folder or at a URL."""

import errno
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.shards.layout import OpenShard
from lightning_colorize.data.shards.manifest import PackedFile

T = TypeVar("T")

DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between the tries to fetch a file."""

# Longer delays are reported, so that a slow start has an explanation.
_REPORTED_FROM = 2.0

_SUFFIX = ".shard"


class DamagedShard(Exception):
    """A shard is not the one that was packed: its SHA-256 differs."""


# `CheckedShards` fetches a damaged file once more; usually the original itself is damaged.
_NOT_RETRIED = (
    *(FileNotFoundError, PermissionError, ImportError, ValueError, TypeError),
    DamagedShard,
)


class FolderStore:
    """A pack in a local folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate(self, file: str) -> str:
        """Return the path of a file, for messages."""
        return str(self.folder / file)

    def read(self, file: str) -> bytes:
        """Return the content of a small file."""
        return (self.folder / file).read_bytes()

    def open(self, file: PackedFile) -> OpenShard:
        """Open a shard."""
        return OpenShard(self.folder / file.file)

    def discard(self, file: PackedFile) -> None:
        """Do nothing: there is no other copy."""


class RemoteStore:
    """A pack at a URL that fsspec supports, such as `s3://bucket/shards`.

    Whole files are fetched and cached under their SHA-256, so a pack that is replaced at its URL is
    fetched again. The processes of a machine share the cache and fetch each file once. Above
    `max_bytes` (None: no limit), the least recently opened files are deleted first. `options` are
    storage options of the fsspec file system.
    """

    def __init__(
        self, url: str, cache: Path, max_bytes: int | None, options: dict[str, Any]
    ) -> None:
        self.url = url.rstrip("/")
        self.cache = cache
        self.max_bytes = max_bytes
        self.options = options

    def locate(self, file: str) -> str:
        """Return the URL of a file, for messages."""
        return f"{self.url}/{file}"

    def read(self, file: str) -> bytes:
        """Return the content of a small file, uncached.

        Raises:
            Exception: If it cannot be read. Remote file systems raise classes of their own.
        """

        def cat() -> bytes:
            system, path = self._system()
            return bytes(system.cat_file(f"{path}/{file}"))

        return with_retries(cat, self.locate(file))

    def open(self, file: PackedFile) -> OpenShard:
        """Open the cached copy, fetched if needed.

        Other processes may delete a copy at any time. An open file stays readable.

        Raises:
            DamagedShard: If the fetched file is not the one that was packed.
            Exception: Same as in `read`.
        """
        cached = self._cached(file)
        if (opened := _open_cached(cached)) is not None:
            return opened
        locks = self.cache / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{file.sha256}.lock"):
            opened = _open_cached(cached) or with_retries(
                lambda: self._fetch(file, cached), self.locate(file.file)
            )
        if self.max_bytes is not None:
            with FileLock(locks / "evict.lock"):
                _evict(self.cache, self.max_bytes, cached)
        return opened

    def discard(self, file: PackedFile) -> None:
        """Delete the cached copy, so that it is fetched again."""
        self._cached(file).unlink(missing_ok=True)

    def _cached(self, file: PackedFile) -> Path:
        return self.cache / f"{file.sha256}{_SUFFIX}"

    def _fetch(self, file: PackedFile, cached: Path) -> OpenShard:
        system, path = self._system()
        part = cached.with_suffix(".part")
        try:
            system.get_file(f"{path}/{file.file}", str(part))
            if (length := part.stat().st_size) != file.bytes:
                raise OSError(f"{length} of {file.bytes} bytes received")
            # An evicted file is fetched again, so this check is not covered by an earlier one.
            if sha256_of(part) != file.sha256:
                raise DamagedShard
            # Opened first: once it is in the cache, another process can evict it.
            opened = OpenShard(part)
            opened.verified = True
            os.replace(part, cached)
        finally:
            part.unlink(missing_ok=True)
        return opened

    def _system(self) -> tuple[Any, str]:
        """Return fsspec's file system and the path in it; fsspec caches one per process."""
        # Imported here: it is slow, and local packs do not need it.
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        try:
            return url_to_fs(self.url, **self.options)  # type: ignore[no-any-return]
        except (ImportError, ValueError) as error:
            raise UsageError(f"{self.url}: {error}") from error


Store = FolderStore | RemoteStore


def _open_cached(cached: Path) -> OpenShard | None:
    """Open a cached copy and mark it as recently used; None if it does not exist."""
    try:
        opened = OpenShard(cached)
    except FileNotFoundError:
        return None
    with suppress(FileNotFoundError):
        os.utime(cached)
    return opened


def with_retries(fetch: Callable[[], T], location: str) -> T:
    """Return the result of a network access, retried with growing delays."""
    for delay in DELAYS:
        try:
            return fetch()
        except Exception as error:
            if isinstance(error, _NOT_RETRIED) or getattr(error, "errno", None) == errno.ENOSPC:
                raise
            # Processes do not call at the same moment.
            pause = delay * random.uniform(0.5, 1.0)
            if pause >= _REPORTED_FROM:
                print(f"{location}: {one_line(error)}; retrying in {pause:.0f} s", file=sys.stderr)
        time.sleep(pause)
    return fetch()


def one_line(error: Exception) -> str:
    """Return the message of an error in one line, or its class if that is empty."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__


def _evict(folder: Path, max_bytes: int, keep: Path) -> None:
    """Delete the least recently opened files until the others fit."""
    files = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(FileNotFoundError):
            status = path.stat()
            files.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= max_bytes:
            return
        if path != keep:
            path.unlink(missing_ok=True)
            total -= size
