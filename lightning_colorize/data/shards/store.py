"""Where the files of a pack lie: in a folder, or at an address, from which they are fetched."""

import errno
import os
import random
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.shards.digest import sha256_of
from lightning_colorize.data.shards.layout import OpenShard
from lightning_colorize.data.shards.manifest import PackedFile

T = TypeVar("T")

DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between the attempts to fetch a file."""

# From this delay on a line says why nothing seems to happen.
_TOLD_FROM = 4.0


class DamagedCopy(Exception):
    """What was fetched has the right length, and another SHA-256."""


# A damaged copy is fetched anew elsewhere: once, since it is mostly the original that is damaged.
_HOPELESS = (
    *(FileNotFoundError, PermissionError, ImportError, ValueError, TypeError),
    DamagedCopy,
)


class Store(ABC):
    """The files of a pack."""

    @abstractmethod
    def place(self, file: str) -> str:
        """Return where a file lies, for messages."""

    @abstractmethod
    def read(self, file: str) -> bytes:
        """Return the content of a small file.

        Raises:
            OSError: If it cannot be read; of another class where a file system has its own.
        """

    @abstractmethod
    def open(self, file: PackedFile) -> tuple[OpenShard, bool]:
        """Open a shard, fetched if need be.

        Returns:
            The shard, and whether it was compared with its SHA-256 on the way.

        Raises:
            DamagedCopy: If what was fetched is not what was packed.
            OSError: As above.
        """

    @abstractmethod
    def discard(self, file: PackedFile) -> bool:
        """Forget a damaged copy; returns whether there may be a better one."""


class FolderStore(Store):
    """A pack in a folder of this machine.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, file: str) -> str:
        """Return the path."""
        return str(self.folder / file)

    def read(self, file: str) -> bytes:
        """Return the content of a small file."""
        return (self.folder / file).read_bytes()

    def open(self, file: PackedFile) -> tuple[OpenShard, bool]:
        """Open the shard as it is."""
        return OpenShard(self.folder / file.file), False

    def discard(self, file: PackedFile) -> bool:
        """Leave it: there is no other."""
        return False


class AddressStore(Store):
    """A pack at an address that fsspec understands, such as `s3://bucket/shards`.

    Files are fetched whole, and kept under their SHA-256: a pack that is replaced at its address is
    fetched anew. Processes of a machine share them, and fetch none twice.

    Args:
        address: The address.
        cache: The folder in which files are kept.
        most: Bytes that the folder may hold; the files that were not opened for longest go first.
            None for all.
        options: Of fsspec's file system.
    """

    def __init__(
        self, address: str, cache: Path, most: int | None, options: dict[str, Any]
    ) -> None:
        self.address = address.rstrip("/")
        self.cache = cache
        self.most = most
        self.options = options

    def place(self, file: str) -> str:
        """Return the file's address."""
        return f"{self.address}/{file}"

    def read(self, file: str) -> bytes:
        """Return the content of a small file; it is not kept."""
        return patiently(lambda: self._cat(file), self.place(file))

    def open(self, file: PackedFile) -> tuple[OpenShard, bool]:
        """Open the kept copy, fetched if there is none.

        Others may delete a copy to make room at any time; what is open can be read nevertheless.
        """
        kept = self._kept(file)
        if (opened := _opened(kept)) is not None:
            return opened, False
        locks = self.cache / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{file.sha256}.lock"):
            opened = _opened(kept)
            compared = opened is None
            if opened is None:
                opened = patiently(lambda: self._fetch(file, kept), self.place(file.file))
        if self.most is not None:
            with FileLock(locks / "evict.lock"):
                _evict(self.cache, self.most, kept)
        return opened, compared

    def discard(self, file: PackedFile) -> bool:
        """Delete the copy: what was kept or fetched may be damaged where the original is not."""
        self._kept(file).unlink(missing_ok=True)
        return True

    def _kept(self, file: PackedFile) -> Path:
        return self.cache / f"{file.sha256}{_SUFFIX}"

    def _cat(self, file: str) -> bytes:
        system, path = self._system()
        content: bytes = system.cat_file(f"{path}/{file}")
        return content

    def _fetch(self, file: PackedFile, kept: Path) -> OpenShard:
        system, path = self._system()
        part = kept.with_suffix(".part")
        try:
            system.get_file(f"{path}/{file.file}", str(part))
            if (length := part.stat().st_size) != file.bytes:
                raise OSError(f"{length} of {file.bytes} bytes came")
            # Here, too: what was found whole once may have been deleted, and comes anew.
            if sha256_of(part) != file.sha256:
                raise DamagedCopy
            # Opened before others see it, and can delete it.
            opened = OpenShard(part)
            os.replace(part, kept)
        finally:
            part.unlink(missing_ok=True)
        return opened

    def _system(self) -> tuple[Any, str]:
        """Return fsspec's file system and the path in it; fsspec keeps one for each process."""
        # Imported here: it takes a while, and folders do without it.
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        try:
            return url_to_fs(self.address, **self.options)  # type: ignore[no-any-return]
        except (ImportError, ValueError) as error:
            raise UsageError(f"{self.address}: {error}") from error


_SUFFIX = ".shard"


def _opened(kept: Path) -> OpenShard | None:
    """Open a copy and take note that it is used; None if there is none."""
    try:
        opened = OpenShard(kept)
    except FileNotFoundError:
        return None
    with suppress(FileNotFoundError):
        os.utime(kept)
    return opened


def patiently(work: Callable[[], T], place: str) -> T:
    """Do some work over a network; where it fails, try again after ever longer pauses.

    Args:
        work: The work; file systems raise classes of their own.
        place: What it is about, for the line that says that it is tried again.
    """
    for delay in DELAYS:
        try:
            return work()
        except _HOPELESS:
            raise
        except Exception as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
            pause = delay * random.uniform(0.5, 1.0)
            if delay >= _TOLD_FROM:
                print(f"{place}: {one_line(error)}; again in {pause:.0f} s", file=sys.stderr)
            time.sleep(pause)
    return work()


def one_line(error: Exception) -> str:
    """Return what an error says, in one line; its class where it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__


def _evict(folder: Path, most: int, keep: Path) -> None:
    """Delete the files that were not opened for longest, until the rest fits."""
    files = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(FileNotFoundError):
            status = path.stat()
            files.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most:
            return
        if path != keep:
            path.unlink(missing_ok=True)
            total -= size
