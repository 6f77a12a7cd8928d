"""What a user did wrong, in one line; the command prints it without a traceback and exits 2."""


class UsageError(ValueError):
    """Wrong use: the message says what was given, what is accepted, what to do."""
