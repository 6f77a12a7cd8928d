"""Errors of a configuration, of its parser and of the classes that it builds, as one line."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import ArgumentError
from pytorch_lightning.utilities.exceptions import (  # type: ignore[attr-defined]
    MisconfigurationException,
)

from lightning_colorize.common.errors import UsageError

_WIDTH = 500  # characters; jsonargparse lists all types of a union, and whole configurations


@contextmanager
def usage_errors(prefix: str = "") -> Iterator[None]:
    """Turn the errors of jsonargparse, Lightning and constructors into a UsageError.

    Other errors of constructors, such as a TypeError, are bugs and keep their traceback.
    """
    try:
        yield
    except (ArgumentError, MisconfigurationException, ValueError) as error:
        cause = _cause(error)
        if isinstance(cause, UsageError):
            raise UsageError(f"{prefix}{cause}") from None
        if not isinstance(cause, (ArgumentError, MisconfigurationException, ValueError)):
            raise
        raise UsageError(f"{prefix}{one_line(cause)}") from None


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line."""
    return textwrap.shorten(str(error), _WIDTH, placeholder=" ...")


def _cause(error: BaseException) -> BaseException:
    """Return what a parser or a constructor raised.

    jsonargparse wraps an error once for each enclosing class; the second ArgumentError from outside
    names the wrong argument of a task.
    """
    if isinstance(error, ArgumentError):
        chain: list[BaseException] = [error]
        while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
            chain.append(inner)
        return [each for each in chain if isinstance(each, ArgumentError)][:2][-1]
    while not isinstance(error, UsageError) and error.__cause__ is not None:
        error = error.__cause__
    return error
