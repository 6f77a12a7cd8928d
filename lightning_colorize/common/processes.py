"""The rank, CPU cores, memory and termination of this process."""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings

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
