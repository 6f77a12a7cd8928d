"""Errors that end a command with one line, without a traceback."""


class UsageError(ValueError):
    """Wrong use: the message names what was given and what is accepted; exit code 2."""


class WorkError(RuntimeError):
    """Work failed: the message names the cause and what to do; exit code 1."""


def first_line(error: BaseException) -> str:
    """Return the first non-empty line of an error message, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
