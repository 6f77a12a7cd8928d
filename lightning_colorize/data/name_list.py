r"""Text files of image names: a source's `exclude_list`, the list of `audit`, a run's `broken.txt`.

One name a line, relative to the data set's root; blank lines and lines that start with `#` are
comments. In a name, a backslash is written as `\\`, a leading `#` as `\#`, and control characters
and undecodable bytes as in Python: `\n`, `\x1b`, `\u202e`. So a terminal can show the file.
"""

import re
from pathlib import Path

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.text import printable


def read_name_list(path: Path) -> set[str]:
    """Read a list of names."""
    try:
        text = path.expanduser().read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(f"exclude_list: {path} cannot be read: {error.strerror}") from error
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return {_unescaped(line) for line in lines if line.strip() and not line.startswith("#")}


def name_with_reason(name: str, reason: str) -> str:
    """Return two lines of a list: the reason as a comment, then the name."""
    line = printable(name.replace("\\", r"\\"))
    escape = "\\" if line.startswith("#") else ""
    return f"# {printable(reason)}\n{escape}{line}\n"


def _unescaped(line: str) -> str:
    escapes = r"\\(?:([\\#])|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
    return re.sub(
        escapes, lambda match: match[1] or match[0].encode().decode("unicode_escape"), line
    )
