"""Signals that ask to end, heard rather than obeyed at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noted(hear: Callable[[int], None]) -> Iterator[None]:
    """Hand SIGINT and SIGTERM to a function; afterwards they mean what they did before.

    Args:
        hear: Is given the signal's number, in the main thread.
    """
    before = {
        number: signal.signal(number, lambda number, frame: hear(number)) for number in _SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
