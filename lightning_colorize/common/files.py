"""Atomic writing of files."""

import errno
import json
import math
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path
from typing import Any, BinaryIO

from lightning_colorize.common.errors import UsageError

try:
    import fcntl
except ImportError:  # not on Windows: files of killed processes stay, and nothing is locked
    fcntl = None  # type: ignore[assignment]

_PART = ".part"


def require_writable(path: Path, option: str) -> None:
    """Check that an output file can be written, before the work starts; creates nothing."""
    try:
        if path.is_dir():
            raise UsageError(f"{option} {path} is a folder; give a file")
        if _is_stream(path):
            return
        with tempfile.TemporaryFile(dir=next(filter(os.path.lexists, path.parents))):
            pass
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be written: {error.strerror}") from None


def require_new(overwrite: bool, *paths: Path) -> None:
    """Check that no file would be overwritten unless `--overwrite` is given."""
    for path in paths:
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists; --overwrite replaces it")


def cache_folder(name: str) -> Path:
    """Return the package's folder of that name in the user's cache."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(caches) / "lightning-colorize" / name).expanduser()


@contextmanager
def atomic_file(
    path: Path,
    temporary: Path | None = None,
    *,
    sync: bool = True,
    keep: Callable[[], bool] = lambda: False,
) -> Iterator[BinaryIO]:
    """Open a file that atomically replaces another when it is complete.

    The folder is created. `temporary` is in the same folder; by default it has a unique, short
    name. With `sync` the new file is on the disk before the other is replaced, so that one of them
    survives even a crash of the system. `keep` says after a failure whether `temporary` stays.
    """
    if _is_stream(path):
        with path.open("ab") as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary or path.with_name(f".{secrets.token_hex(8)}{_PART}")
    try:
        with _in_use(temporary):
            with temporary.open("wb") as file:
                yield file
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # a failed write does not name its file
            error.filename = str(path)
        raise
    finally:
        if not keep():
            temporary.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    """Return whether a path is a pipe or a device: written to, as root could replace it."""
    return str(path).startswith("/dev/std") or (path.exists() and not path.is_file())


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder."""
    for name in glob(f".{16 * '[0-9a-f]'}{_PART}", root_dir=folder):
        with suppress(OSError, AttributeError), (folder / name).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / name).unlink()


@contextmanager
def _in_use(path: Path) -> Iterator[None]:
    """Create a file and lock it."""
    if fcntl is None:  # Windows cannot rename open files
        yield
        return
    with path.open("ab") as file, locked(file.fileno()):
        yield


@contextmanager
def locked(descriptor: int) -> Iterator[None]:
    """Lock an open file against other processes, if the file system supports locks.

    The lock is released when the process ends, at the latest.
    """
    with suppress(OSError, AttributeError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError, AttributeError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def write_atomic(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as file:
        file.write(text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, with null for nan and infinity."""
    write_atomic(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
