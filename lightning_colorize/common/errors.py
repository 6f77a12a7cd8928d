"""Errors that end a command with one line, without a traceback."""

import textwrap


class UsageError(ValueError):
    """A usage error: the message names the given and the accepted values; exit code 2."""


class WorkError(RuntimeError):
    """The work failed: the message names the cause and a remedy; exit code 1."""


def require_option(name: str, value: object, accepted: str, valid: bool) -> None:
    """Raise a UsageError if the value of the option `--name` is not valid."""
    if not valid:
        raise UsageError(f"--{name} is {value}: it must be {accepted}")


def first_line(error: BaseException) -> str:
    """Return the first non-empty line of an error message, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def one_line(error: BaseException) -> str:
    """Return an error's message in one line, shortened: jsonargparse prints whole settings."""
    return textwrap.shorten(str(error) or type(error).__name__, 500, placeholder=" ...")
