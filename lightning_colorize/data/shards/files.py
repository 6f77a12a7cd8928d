"""Access to tars in a local folder or at a URL."""

import errno
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from filelock import FileLock

from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.errors import first_line
from lightning_colorize.common.files import locked
from lightning_colorize.data.decoding.files import ImageError

T = TypeVar("T")

DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between the tries to download a file."""

# Longer delays are reported, so that a slow start has an explanation.
_REPORTED_FROM = 2.0

_NOT_RETRIED = (FileNotFoundError, PermissionError, ImportError, ValueError, TypeError)

_ADVICE = "run pack again, or leave its images out with --data.source.on_corrupt skip"


class ShardError(ImageError):
    """An image cannot be read because its tar cannot be read; the run stops."""


class Tar(NamedTuple):
    """A tar.

    Attributes:
        location: Its path or URL.
        bytes: Its length.
        sha256: In hexadecimal digits; "" if it is unknown.
        key: Name of the file in the download cache, without suffix.
    """

    location: str
    bytes: int
    sha256: str
    key: str

    @property
    def is_remote(self) -> bool:
        """Return whether it is at a URL."""
        return "://" in self.location


class TarCache:
    """Opens tars; one at a URL is downloaded whole.

    The processes of a machine share the folder and download each tar once. Other processes may
    delete a copy at any time; an open file stays readable.

    Args:
        folder: The folder of downloaded tars.
        max_bytes: Size limit; the least recently opened tars are deleted first. None: no limit.
        options: Storage options of the fsspec file system.
    """

    def __init__(self, folder: Path, max_bytes: int | None, options: dict[str, Any]) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.options = options

    def open(self, tar: Tar) -> FileIO:
        """Open a tar.

        Raises:
            Exception: If it cannot be read. Remote file systems raise classes of their own.
        """
        if not tar.is_remote:
            return FileIO(tar.location)
        copy = self.folder / f"{tar.key}.tar"
        if (file := _open_copy(copy)) is not None:
            return file
        with FileLock(copy.with_suffix(".lock")):
            file = _open_copy(copy) or with_retries(lambda: self._download(tar, copy), tar.location)
        if self.max_bytes is not None:
            self._evict(self.max_bytes, copy)
        return file

    def discard(self, tar: Tar) -> None:
        """Delete the downloaded copy, if any, so that it is downloaded again."""
        (self.folder / f"{tar.key}.tar").unlink(missing_ok=True)

    def _download(self, tar: Tar, copy: Path) -> FileIO:
        # Imported here: it is slow, and local tars do not need it.
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        # fsspec caches one file system per process: s3fs and its like do not survive a fork.
        system, path = url_to_fs(tar.location, **self.options)
        part = copy.with_suffix(".part")
        try:
            system.get_file(path, str(part))
            if (length := part.stat().st_size) != tar.bytes:
                raise OSError(f"{length} of {tar.bytes} bytes received")
            # Opened first: once it is in the cache, another process can delete it.
            file = FileIO(part)
            os.replace(part, copy)
        finally:
            part.unlink(missing_ok=True)
        return file

    def _evict(self, max_bytes: int, keep: Path) -> None:
        """Delete the least recently opened copies until the others fit."""
        copies = []
        for path in self.folder.glob("*.tar"):
            with suppress(FileNotFoundError):
                status = path.stat()
                copies.append((status.st_atime_ns, status.st_size, path))
        total = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if total > max_bytes and path != keep:
                path.unlink(missing_ok=True)
                total -= size


class CheckedTars:
    """The tars of a split, each verified by its SHA-256 when it is first opened.

    Worker processes share which tars are intact, so only one of them verifies each. With `skip`,
    the images of a damaged or missing tar count as broken; otherwise it stops the run.
    """

    def __init__(self, tars: Sequence[Tar], cache: TarCache, skip: bool) -> None:
        self.tars = tars
        self.cache = cache
        self.skip = skip
        # The modification time of the verified file: a tar that is downloaded again has another.
        self._verified = torch.zeros(len(tars), dtype=torch.int64)
        self._verified.share_memory_()  # type: ignore[no-untyped-call]
        self._unusable: dict[int, str] = {}

    def read(self, index: int, offset: int, size: int, name: str) -> bytes:
        """Return a part of a tar; an ImageError with the name if it cannot be read."""
        with self.open(index, name) as file:
            try:
                file.seek(offset)
                data = file.read(size)
            except OSError as error:
                raise ImageError(Path(name), first_line(error)) from error
        if len(data) < size:
            raise ImageError(Path(name), f"{self.tars[index].location} is truncated")
        return data

    def open(self, index: int, name: str = "") -> FileIO:
        """Open a tar to read an image, downloaded and verified if needed.

        Raises:
            ImageError: If it is missing or damaged; a `ShardError` unless such tars are skipped.
        """
        tar = self.tars[index]
        if index not in self._unusable:
            try:
                # A downloaded copy may be damaged while the original is intact.
                for _ in range(1 + tar.is_remote):
                    file = self.cache.open(tar)
                    if self._is_intact(index, file):
                        return file
                    file.close()
                    self.cache.discard(tar)
                self._unusable[index] = "its SHA-256 is not the one in pack.json"
            except FileNotFoundError:
                self._unusable[index] = "there is no such file"
            except Exception as error:  # file systems raise classes of their own
                reason = f"{tar.location}: {first_line(error)}: resume the run when it can be read"
                raise ShardError(Path(name), reason) from error
        reason = f"{tar.location}: {self._unusable[index]}"
        if self.skip:
            raise ImageError(Path(name), reason)
        raise ShardError(Path(name), f"{reason}: {_ADVICE}")

    def _is_intact(self, index: int, file: FileIO) -> bool:
        sha256 = self.tars[index].sha256
        modified = os.fstat(file.fileno()).st_mtime_ns
        if not sha256 or self._verified[index] == modified:
            return True
        with locked(file.fileno()):
            # Another process may have verified it in the meantime.
            if self._verified[index] != modified and sha256_of(file) == sha256:
                self._verified[index] = modified
        return bool(self._verified[index] == modified)


def _open_copy(copy: Path) -> FileIO | None:
    """Open a downloaded tar and mark it as recently used; None if it does not exist."""
    try:
        file = FileIO(copy)
    except FileNotFoundError:
        return None
    with suppress(FileNotFoundError):
        os.utime(copy, ns=(time.time_ns(), os.fstat(file.fileno()).st_mtime_ns))
    return file


def with_retries(fetch: Callable[[], T], location: str) -> T:
    """Return the result of a network access, retried with growing delays."""
    for delay in DELAYS:
        try:
            return fetch()
        except _NOT_RETRIED:
            raise
        except Exception as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
            # Processes do not call at the same moment.
            pause = delay * random.uniform(0.5, 1.0)
            if pause >= _REPORTED_FROM:
                line = f"{location}: {first_line(error)}; retrying in {pause:.0f} s"
                print(line, file=sys.stderr)
        time.sleep(pause)
    return fetch()
