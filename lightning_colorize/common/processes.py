"""The rank, CPU cores, memory, settings and termination of this process."""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable

from lightning_utilities.core.rank_zero import rank_zero_only

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt


def is_first_process() -> bool:
    """Return whether this is rank 0, the process that logs and prints.

    Lightning sets the rank when it is imported, before there is a process group.
    """
    return getattr(rank_zero_only, "rank", 0) == 0


def cores() -> int:
    """Return the number of cores that this process may use, e.g. its share of a cluster node."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of large tensors instead of returning it to the system.

    By default each block above 32 MB is new memory, which the kernel fills with zeros page by page:
    a fifth of a training step at 128 px on a CPU, half of an evaluation. C libraries other than
    glibc are not changed.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_MMAP_THRESHOLD, 2**31 - 1)


class ProcessSetting:
    """A setting of the process that is changed while at least one thread is inside.

    `change` changes the setting and returns a function that restores it.
    """

    def __init__(self, change: Callable[[], Callable[[], object]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._threads: list[int] = []
        if hasattr(os, "register_at_fork"):
            # A child would find a lock that another thread holds locked forever.
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._keep_own,
            )

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                self._restore = self._change()
            self._threads.append(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads.remove(threading.get_ident())
            if not self._threads:
                self._restore()

    def _keep_own(self) -> None:
        """Drop the threads that a forked child does not have."""
        before, own = self._threads, threading.get_ident()
        self._threads = [each for each in before if each == own]
        if before and not self._threads:
            self._restore()
        self._lock.release()


def quiet_decoders(worker: int = 0) -> None:
    """Silence the warnings of image decoders in this process.

    The warnings do not name the file, and real problems are raised as errors. `worker` is
    unused; DataLoader passes it to its `worker_init_fn`.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.|torchvision\.io")
    for library in ("PIL", "tifffile"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def exit_with_parent() -> None:
    """End this `multiprocessing` process when its parent ends, even if the parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def exit_on_sigterm() -> None:
    """On SIGTERM, raise SystemExit with the exit code of the signal, so that cleanup runs."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
