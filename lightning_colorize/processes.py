"""Which of several processes this one is."""

from lightning_utilities.core.rank_zero import rank_zero_only


def is_first_process() -> bool:
    """Return whether this is the process that logs and talks: the only one, or rank 0 of several.

    Lightning sets the rank when it is imported, before any process group is made.
    """
    return getattr(rank_zero_only, "rank", 0) == 0
