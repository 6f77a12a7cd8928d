"""What ends a command in one line, without a traceback."""


class UsageError(ValueError):
    """Wrong use: the message says what was given, what is accepted, what to do; exit code 2."""


class WorkError(RuntimeError):
    """Work that had begun cannot go on: the message says why and what to do; exit code 1."""
