"""The rank of this process, its CPU cores, its memory and its end."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading

from lightning_utilities.core.rank_zero import rank_zero_only

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt


def is_first_process() -> bool:
    """Return whether this is rank 0, the process that logs and prints.

    Lightning sets the rank when it is imported, before there is a process group.
    """
    return getattr(rank_zero_only, "rank", 0) == 0


def cores() -> int:
    """Return the number of cores that this process may use; a cluster allots it some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of large tensors instead of returning it to the system.

    By default each block above 32 MB is new memory, which the kernel fills with zeros page by page:
    a fifth of a training step at 128 px on a CPU, half of an evaluation. Other libraries than glibc
    are left as they are.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_MMAP_THRESHOLD, 2**31 - 1)


def exit_with_parent() -> None:
    """End this process of `multiprocessing` when its parent has ended, even if killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def exit_on_sigterm() -> None:
    """Raise SystemExit with the exit code of the signal, so that cleanup runs."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
