r"""Text files of image names: a source's `exclude_list`, the list of `audit`, a run's `broken.txt`.

One name a line, relative to the data set's root; blank lines and lines that start with `#` are
comments. A backslash, a line feed and a carriage return in a name are written as `\\`, `\n` and
`\r`, a leading `#` as `\#`.
"""

import re
from pathlib import Path

from lightning_colorize.common.errors import UsageError

_ESCAPED = {"n": "\n", "r": "\r"}


def read_name_list(path: Path) -> set[str]:
    """Read a list of names.

    Raises:
        UsageError: If the file cannot be read.
    """
    try:
        text = path.expanduser().read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(f"exclude_list: {path} cannot be read: {error.strerror}") from error
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return {_unescaped(line) for line in lines if line.strip() and not line.startswith("#")}


def name_with_reason(name: str, reason: str) -> str:
    """Return two lines of a list: the reason as a comment, then the name."""
    line = name.replace("\\", r"\\").replace("\n", r"\n").replace("\r", r"\r")
    escape = "\\" if line.startswith("#") else ""
    return f"# {' '.join(reason.split())}\n{escape}{line}\n"


def _unescaped(line: str) -> str:
    return re.sub(r"\\([\\nr#])", lambda match: _ESCAPED.get(match[1], match[1]), line)
