"""SHA-256 of files."""

import hashlib
from io import BufferedReader
from pathlib import Path


def digest(file: BufferedReader) -> str:
    """Return the SHA-256 of what an open file holds, in hexadecimal digits."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return digest(file)
