"""Digests of files, and detection of damaged checkpoints.

torch.save writes zip archives, and torch.load ignores their checksums. So this package adds a
digest as the archive comment, which zip readers skip.
"""

import hashlib
import mmap
import zipfile
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO

_MARK = b"lightning_colorize sha256 "
_LENGTH = len(_MARK) + hashlib.sha256().digest_size
_END = b"PK\5\6"  # begins the end record: 22 bytes, the last two the length of the comment


def sha256_of(file: Path | BufferedReader | FileIO) -> str:
    """Return the SHA-256 of a file or of an open file, in hexadecimal digits."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return sha256_of(opened)
    return hashlib.file_digest(file, "sha256").hexdigest()


class DigestWriter:
    """Writes an archive that `torch.save` gives it, and then the digest of what it wrote."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.flush = file, file.flush
        self._digest = hashlib.sha256()
        self._end = b""  # the last two bytes are the length of the comment, 0

    def write(self, data: bytes | memoryview) -> int:
        """Write all but the last two bytes so far."""
        end = self._end + data[-2:]
        for part in (end[:-2], data[:-2]):
            self._digest.update(part)
            self.file.write(part)
        self._end = end[-2:]
        return len(data)

    def finish(self) -> None:
        """Write the length of the comment, and the comment."""
        self._digest.update(length := _LENGTH.to_bytes(2, "little"))
        self.file.write(length + _MARK + self._digest.digest())


def is_damaged(path: Path) -> bool:
    """Return whether an archive has changed since it was written; False for other files.

    Without a digest, the checksums of its records are checked: a record that was replaced together
    with its checksum goes unnoticed.

    Raises:
        Exception: Of nearly any class, if the archive's directory is damaged.
    """
    if not path.stat().st_size:
        return False
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        begin = max(0, len(content) - _LENGTH)
        if content[begin:].startswith(_MARK):
            with view[:begin] as body:
                return content[begin:] != _MARK + hashlib.sha256(body).digest()
        end = content.rfind(_END)
        if end < 0:
            return False
        comment = int.from_bytes(content[end + 20 : end + 22], "little")
        if len(content) != end + 22 + comment:
            return True
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is not None
