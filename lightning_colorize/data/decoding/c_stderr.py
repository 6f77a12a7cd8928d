"""Silence for C libraries that print.

libjpeg prints its warnings about damaged data ("Corrupt JPEG data: 65 extraneous bytes before
marker 0xd9") through C's `stderr`, and torchvision gives no way to turn that off. Among a million
photographs there are dozens of them, and each would break a progress bar without naming a file.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_POSIX = os.name == "posix"
_inside: list[None] = []

if _POSIX:
    _c = ctypes.CDLL(None)
    _c.fopen.restype = ctypes.c_void_p
    _stderr = ctypes.c_void_p.in_dll(_c, "__stderrp" if sys.platform == "darwin" else "stderr")
    _terminal = _stderr.value
    _nowhere = _c.fopen(os.devnull.encode(), b"w")

    def _reset() -> None:
        _inside.clear()
        _stderr.value = _terminal

    # Of a fork, only the forking thread goes on: others may have been inside.
    os.register_at_fork(after_in_child=_reset)


@contextmanager
def silent_c_stderr() -> Iterator[None]:
    """Send what C code prints to its `stderr` nowhere; Python's `sys.stderr` is untouched.

    Only the C variable is exchanged, not file descriptor 2, so that Python's output, tracebacks
    and C++ streams of other threads still reach the terminal. It needs no lock (list operations
    are atomic, and a lock held during a fork would hang the child): the worst that threads can do
    to each other is to let a line through. Elsewhere than on POSIX it does nothing.
    """
    if not _POSIX:
        yield
        return
    _inside.append(None)
    _stderr.value = _nowhere
    try:
        yield
    finally:
        _inside.pop()
        if not _inside:
            _stderr.value = _terminal
