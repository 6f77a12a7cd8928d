"""Argument parsing for the commands without a Trainer."""

import argparse
import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from lightning_colorize.common.errors import UsageError

PROGRAM = "lightning-colorize"


class Parser(argparse.ArgumentParser):
    """An argparse parser that omits the usage text on errors and accepts the options of models.

    Attributes:
        takes_settings: Collect unknown options as text in `settings`: a model that is not loaded
            yet may have such a setting.
    """

    takes_settings = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._options: set[str] = set()  # `__init__` adds --help
        super().__init__(*args, **kwargs)

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        """Add an argument."""
        action = super().add_argument(*args, **kwargs)
        self._options |= {*action.option_strings}
        return action

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse command-line arguments.

        Raises:
            UsageError: If they are invalid.
        """
        settings: dict[str, str] = {}
        kept: list[str] = []
        left = iter(words)
        for word in left:
            option, sign, value = word.partition("=")
            if word == "--" or not self.takes_settings:
                kept += [word, *left]
            elif not option.startswith("--") or option in self._options:
                kept.append(word)
            elif near := get_close_matches(option, self._options, 1, 0.9):
                self.error(f"unknown option {option}; did you mean {near[0]}?")
            else:
                settings[option[2:].replace("-", "_")] = value if sign else next(left, "")
        args = self.parse_args(kept)
        if self.takes_settings:
            given = {name: getattr(args, name) for name in args.setting_names}
            args.settings = {n: v for n, v in given.items() if v is not None} | settings
        return args

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError with the message."""
        raise UsageError(f"{self.prog.removeprefix(PROGRAM + ' ')}: {message}")


class Moved(argparse.Action):
    """An option that became a command."""

    def __init__(self, option_strings: Sequence[str], dest: str, command: str) -> None:
        super().__init__(option_strings, dest, nargs="*", help=argparse.SUPPRESS)
        self.command = command

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Report the command.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{self.option_strings[0]} is now {PROGRAM} {self.command}")


def expanded_path(text: str) -> Path:
    """Return a path with `~` expanded, which not every shell does in `--data=~/photos`."""
    return Path(os.path.expanduser(text))


def split_name(word: str) -> tuple[str, Path]:
    """Split `NAME=PATH` into name and path; without `NAME=` the name is empty."""
    name, sign, rest = word.partition("=")
    if sign and name and not os.path.exists(word):
        return name, expanded_path(rest)
    return "", expanded_path(word)


def require_positive(args: argparse.Namespace, *names: str) -> None:
    """Check that the named arguments are positive.

    Raises:
        UsageError: If one is 0 or less.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise UsageError(f"--{name.replace('_', '-')} {value}: it must be above 0")


def require_not_negative(args: argparse.Namespace, name: str) -> None:
    """Check that an argument is not negative.

    Raises:
        UsageError: If it is below 0.
    """
    value = getattr(args, name)
    if value is not None and value < 0:
        raise UsageError(f"--{name.replace('_', '-')} {value}: it must be 0 or more")
