"""Argument parsing for the commands without a Trainer."""

import argparse
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable

PROGRAM = "lightning-colorize"

COMMAND = f"uv run {PROGRAM}" if "UV_RUN_RECURSION_DEPTH" in os.environ else PROGRAM
"""The command in hints, to be copied: `uv run` sets the variable for what it runs."""

_N = TypeVar("_N", int, float)


class _Output(argparse.Action):
    """A file to write, which is checked before the work starts."""

    def __call__(self, parser: Any, args: Any, path: Any, option: str | None = None) -> None:
        require_writable(path, str(option))
        setattr(args, self.dest, path)


class Parser(argparse.ArgumentParser):
    """An argparse parser that omits the usage text on errors and accepts the options of models.

    Its methods add the kinds of arguments that most commands have; `more` as in `add_argument`.
    """

    # Collect unknown options as text in `settings`: a model that is not loaded yet may have such a
    # setting. `--name` without a value is true, `--no-name` false.
    takes_settings = False

    def add_flag(self, option: str, text: str) -> None:
        """Add an option without a value."""
        self.add_argument(option, action="store_true", help=text)

    def add_path(self, name: str, metavar: str, text: str, **more: Any) -> None:
        """Add the path of a file or a folder."""
        self.add_argument(name, metavar=metavar, type=expanded_path, help=text, **more)

    def add_output(self, option: str, text: str) -> None:
        """Add the path of a file to write."""
        self.add_path(option, "FILE", text, action=_Output)

    def add_int(
        self, option: str, text: str, least: int = 1, most: int = sys.maxsize, **more: Any
    ) -> None:
        """Add a whole number in a range."""
        more.setdefault("metavar", "N")
        self.add_argument(option, type=number(int, least, most), help=text, **more)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse command-line arguments."""
        options = {option for action in self._actions for option in action.option_strings}
        settings: dict[str, str] = {}
        kept: list[str] = []
        left = deque(words)
        while left:
            word = left.popleft()
            option, sign, value = word.partition("=")
            if word == "--" or not self.takes_settings:
                kept += [word, *left]
                break
            if not option.startswith("--") or any(known.startswith(option) for known in options):
                kept.append(word)  # also a unique prefix, which argparse completes
                continue
            if near := get_close_matches(option, options, 1, 0.9):
                self.error(f"unknown option {option}; did you mean {near[0]}?")
            name = option[2:].replace("-", "_")
            if not sign and name.startswith("no_"):
                name, value = name[3:], "false"
            elif not sign:
                value = "true" if not left or left[0].startswith("--") else left.popleft()
            settings[name] = value
        args = self.parse_args(kept)
        if self.takes_settings:
            given = {name: getattr(args, name) for name in args.setting_names}
            args.settings = {n: v for n, v in given.items() if v is not None} | settings
        return args

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError with the message."""
        raise UsageError(f"{self.prog.removeprefix(PROGRAM + ' ')}: {message}")


def host_names(host: str) -> list[str]:
    """Return the Host names that a server answers; "*" for any.

    Another site's name could resolve to 127.0.0.1, so that its pages could read what is served. On
    another address, a server does not know its own names.
    """
    local = ["127.0.0.1", "localhost"]
    return local if host in local else ["*"]


def expanded_path(text: str) -> Path:
    """Return a path with `~` expanded, which not every shell does in `--data=~/photos`."""
    return Path(os.path.expanduser(text))


def split_name(word: str) -> tuple[str, Path]:
    """Split `NAME=PATH` into name and path; without `NAME=` the name is empty."""
    name, sign, rest = word.partition("=")
    if sign and name and not os.path.exists(word):
        return name, expanded_path(rest)
    return "", expanded_path(word)


def number(kind: type[_N], least: float, most: float = sys.maxsize) -> Callable[[str], _N]:
    """Return an argparse type for an int or float in a range."""

    def checked(text: str) -> _N:
        value = kind(text)
        if not least <= value <= most:
            is_open = most == sys.maxsize and not value > most  # or NaN
            accepted = f"at least {least}" if is_open else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{text} must be {accepted}")
        return value

    checked.__name__ = kind.__name__  # in argparse's message for text that is not a number
    return checked
