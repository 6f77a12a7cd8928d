"""A digest of a file that torch.save wrote, as the comment at the end of the zip archive.

torch does not read the archive's checksums: a flipped bit would be another weight. Its loader skips
the comment, as any reader of zip files does.
"""

import hashlib
import mmap
import os
from pathlib import Path
from typing import BinaryIO

_MARK = b"lightning_colorize sha256 "
_LENGTH = len(_MARK) + hashlib.sha256().digest_size
_TAIL = 4096  # bytes to search for it: copying may append some


def append_digest(file: BinaryIO) -> None:
    """Append the digest of all bytes to an archive without a comment, open for writing."""
    # Its last two bytes are the length of the comment, 0.
    file.seek(-2, os.SEEK_END)
    file.write(_LENGTH.to_bytes(2, "little"))
    file.flush()
    with open(file.name, "rb") as written:
        digest = hashlib.file_digest(written, "sha256")
    file.write(_MARK + digest.digest())


def has_digest_of_others(path: Path) -> bool:
    """Return whether a file has the digest of other bytes than its own; False if it has none."""
    if not path.stat().st_size:
        return False
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        begin = content.rfind(_MARK, max(0, len(content) - _TAIL))
        if begin < 0:
            return False
        with view[:begin] as body:
            return content[begin:] != _MARK + hashlib.sha256(body).digest()
