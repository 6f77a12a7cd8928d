"""A mapping of a sweep file together with its place in it, so that every refusal names the key."""

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_colorize.common.errors import UsageError

# PyYAML reads YAML 1.1, where such a number is text without a point before the exponent (1e-2) or
# a sign in it (1.0e5).
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


@dataclass(frozen=True)
class Section:
    """A mapping inside a sweep file.

    Attributes:
        file: The file, for messages.
        path: Dotted place in the file; empty for the whole.
        content: The mapping.
    """

    file: str
    path: str
    content: Mapping[str, Any]

    def __post_init__(self) -> None:
        for key in self.content:
            if not isinstance(key, str):
                raise self.error("", f"the key {shown(key)} is no text; put it in quotes")

    def error(self, key: str, problem: str) -> UsageError:
        """Return `FILE: path.key: problem` as an error; an empty key is the section itself."""
        place = ".".join(filter(None, (self.path, key)))
        return UsageError(": ".join(filter(None, (self.file, place, problem))))

    def section(self, key: str) -> "Section":
        """Return the mapping below a key.

        Raises:
            UsageError: If it is no mapping, is empty, or has keys that are no text.
        """
        inner = self.content[key]
        if not isinstance(inner, Mapping):
            raise self.error(
                key, f"{shown(inner)} is no mapping; write `key: value` lines below it"
            )
        if not inner:
            raise self.error(key, "is empty; write `key: value` lines below it, or leave it out")
        return Section(self.file, ".".join(filter(None, (self.path, key))), inner)

    def only(self, known: Collection[str], refused: Mapping[str, str] | None = None) -> None:
        """Refuse every key that is not known.

        Args:
            known: What may be there.
            refused: Keys that exist in W&B's schema but not here, and what to do about each.

        Raises:
            UsageError: With the nearest known key, or with what `refused` says.
        """
        for key in self.content:
            if key in (refused or {}):
                raise self.error(key, (refused or {})[key])
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
                raise self.error(key, f"unknown key; {meant}")

    def require(self, key: str, to_write: str) -> None:
        """Refuse a section that lacks a key.

        Raises:
            UsageError: If it does.
        """
        if key not in self.content:
            raise self.error(key, f"missing; write {to_write}")

    def text(self, key: str) -> str | None:
        """Return a text, None where there is none.

        Raises:
            UsageError: If it is something else, or blank.
        """
        if key not in self.content:
            return None
        value = self.content[key]
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"{shown(value)} is no text; write one, in quotes if need be")
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """Return one of several words; the key is there.

        Raises:
            UsageError: If it is none of them.
        """
        value = self.content[key]
        if value not in choices:
            raise self.error(key, f"{shown(value)} is not known; write one of {', '.join(choices)}")
        return str(value)

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number, an int where the file has one.

        Raises:
            UsageError: If it is missing without a default, or something else.
        """
        if key not in self.content and default is not None:
            return default
        self.require(key, f"`{key}: ` and a number")
        value = self.content[key]
        if isinstance(value, str):
            raise self.error(key, not_a_number(value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"{shown(value)} is no number; write one such as 0.01")
        if not math.isfinite(value):
            raise self.error(key, f"{value} is not finite; write a finite number")
        return value

    def integer(self, key: str, minimum: int) -> int:
        """Return a whole number of at least `minimum`.

        Raises:
            UsageError: If it is missing, smaller, or something else.
        """
        value = self.number(key)
        if not isinstance(value, int):
            raise self.error(key, f"{value} is no whole number; write {round(value)}")
        if value < minimum:
            raise self.error(key, f"{value} is too small; write {minimum} or more")
        return value


def shown(value: object) -> str:
    """Return a value as a message shows it: short, and `null` as YAML writes it."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_written_number(text: str) -> bool:
    """Return whether a text was meant as a number: `1e-2`, which YAML 1.1 takes for text."""
    return _EXPONENT.fullmatch(text) is not None


def not_a_number(text: str) -> str:
    """Say what is wrong with a text in a number's place, and what to write."""
    try:
        plain = repr(float(text))
    except ValueError:
        return f"{shown(text)} is text, not a number; write one such as 0.01 or 1.0e-2"
    # As PyYAML reads it: a point before the exponent.
    plain = plain if "." in plain or "e" not in plain else plain.replace("e", ".0e")
    return f"{shown(text)} is text to YAML, not a number; write {plain}"
