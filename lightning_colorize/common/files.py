"""Atomic writing of text files."""

import os
import secrets
import tempfile
from pathlib import Path

from lightning_colorize.common.errors import UsageError


def temporary_beside(path: Path) -> Path:
    """Return a unique, short, hidden file name in the same folder."""
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def require_writable(path: Path, option: str) -> None:
    """Refuse an output file that cannot be written, before the work starts.

    Raises:
        UsageError: If it is a folder, or its folder is not writable.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{option} {path} is a folder; give a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be written: {error.strerror}") from None


def write_atomic(path: Path, text: str) -> None:
    """Write a text file; a reader never sees half of it, even after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
