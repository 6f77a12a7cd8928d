"""The rank of this process and its CPU cores."""

import os

from lightning_utilities.core.rank_zero import rank_zero_only


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
