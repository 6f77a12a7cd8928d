"""Text formatting for tables and reports."""

import os
import re
import unicodedata
from collections.abc import Iterable
from datetime import timedelta

UNKNOWN = "-"

# Parts of a setting's name that only jsonargparse needs.
_LEFT_OUT = ("init_args", "class_path")
_FOLDERS = re.compile(r"(?<![\w.~/])/(?:[^/\s'\"]+/)+")
# Unicode's categories of control characters, formats, undecodable bytes and line separators
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")


def format_time(seconds: float | None) -> str:
    """Return a time as `0:01:20`."""
    return UNKNOWN if seconds is None else str(timedelta(seconds=round(seconds)))


def printable(text: str) -> str:
    """Return a line with control characters and undecodable bytes escaped, for a terminal."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _ESCAPED else c
        for c in text
    )


def without_folders(text: object) -> str:
    """Return text with only the last part of each absolute path, for pages that are sent."""
    shown = str(text)
    if os.path.isabs(shown) and os.path.exists(shown):  # which may contain spaces
        return os.path.basename(shown)
    return _FOLDERS.sub("", shown)


def decodable(name: str) -> str:
    """Return a file name as text: bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode()


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return the last part of each setting's dotted name, or as many parts as make it unique."""
    parts = {name: [part for part in name.split(".") if part not in _LEFT_OUT] for name in names}
    every = list(parts.values())
    return {name: _short(own, every) or name for name, own in parts.items()}


def _short(parts: list[str], every: list[list[str]]) -> str:
    for count in range(1, len(parts)):
        if sum(other[-count:] == parts[-count:] for other in every) == 1:
            return ".".join(parts[-count:])
    return ".".join(parts) if every.count(parts) == 1 else ""
