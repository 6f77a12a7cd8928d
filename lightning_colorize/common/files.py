"""Files that are written whole or not at all."""

import os
import secrets
import tempfile
from pathlib import Path

from lightning_colorize.common.errors import UsageError


def temporary_beside(path: Path) -> Path:
    """Return a hidden name of nobody else's in the file's folder, short whatever the file's is."""
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def require_writable(path: Path, option: str) -> None:
    """Refuse a file that cannot be written, before the work whose outcome it is to hold.

    Args:
        path: The file; its folder is made.
        option: Where it was given, for the message.

    Raises:
        UsageError: If it is a folder, or no file can be made beside it.
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
    """Write a text file so that a reader, or a crash, never meets half of it."""
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
