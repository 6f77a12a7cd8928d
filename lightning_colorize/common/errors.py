"""Errors that end a command with one line, without a traceback."""


class UsageError(ValueError):
    """Wrong use: the message names what was given and what is accepted; exit code 2."""


class WorkError(RuntimeError):
    """Work failed: the message names the cause and what to do; exit code 1."""
