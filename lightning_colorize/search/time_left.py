"""How long a sweep will still take."""

import heapq
from collections.abc import Sequence
from statistics import mean

from lightning_colorize.search.sampling import trials_in_all
from lightning_colorize.search.status import State, TrialRow
from lightning_colorize.search.sweep_file import Sweep

ENDED: tuple[State, ...] = ("finished", "pruned", "failed")
"""States of trials that are through."""


def seconds_left(rows: Sequence[TrialRow], sweep: Sweep, workers: int) -> float | None:
    """Estimate when the last trial will end, if the others take as long as those that have ended.

    Args:
        rows: All trials that there are by now.
        sweep: Says how many there will be.
        workers: How many run at the same time.

    Returns:
        Seconds; None where no trial has ended yet, or there is no limit to their number.
    """
    total = trials_in_all(sweep)
    taken = [row.seconds for row in rows if row.state in ENDED and row.seconds is not None]
    if total is None or not taken:
        return None
    each = mean(taken)
    open_ = [row for row in rows if row.state not in ENDED]
    rest = [max(0.0, each - (row.seconds or 0.0)) for row in open_]
    running = [left for left, row in zip(rest, open_, strict=True) if row.state == "running"]
    to_come = [left for left, row in zip(rest, open_, strict=True) if row.state == "waiting"]
    to_come += [each] * (total - len(rows))
    # When each worker is free; other machines may have some too.
    free = running + [0.0] * (workers - len(running))
    heapq.heapify(free)
    for seconds in to_come:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)
