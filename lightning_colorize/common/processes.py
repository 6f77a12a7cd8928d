"""Which of several processes this one is, and what it may use."""

import os

from lightning_utilities.core.rank_zero import rank_zero_only


def is_first_process() -> bool:
    """Return whether this is the process that logs and talks: the only one, or rank 0 of several.

    Lightning sets the rank when it is imported, before any process group is made.
    """
    return getattr(rank_zero_only, "rank", 0) == 0


def cores() -> int:
    """Return the cores that this process may use: of a cluster's machine, those allotted to it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
