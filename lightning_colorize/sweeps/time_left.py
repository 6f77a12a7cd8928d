"""How long a sweep will still take."""

import heapq
from collections.abc import Sequence
from statistics import mean

from lightning_colorize.sweeps.spec import Sweep
from lightning_colorize.sweeps.status import State, TrialRow

ENDED: tuple[State, ...] = ("finished", "pruned", "failed")
"""States of trials that are through."""


def seconds_left(rows: Sequence[TrialRow], sweep: Sweep, workers: int) -> float | None:
    """Estimate when the last trial will end.

    One that has not begun is taken to need as long as those that have ended; one that runs, as much
    more as its validations so far say beside those of a finished one.

    Args:
        rows: All trials that there are by now.
        sweep: Says how many there will be.
        workers: How many run at the same time.

    Returns:
        Seconds; None where no trial has ended yet, or there is no limit to their number.
    """
    total = sweep.trial_count
    taken = [row.seconds for row in rows if row.state in ENDED and row.seconds is not None]
    if total is None or not taken:
        return None
    each = mean(taken)
    known = [_validations(row) for row in rows if row.state == "finished"]
    validations = mean(known) if known else 0.0
    open_ = [row for row in rows if row.state not in ENDED]
    rest = [_rest(row, each, validations) for row in open_]
    running = [left for left, row in zip(rest, open_, strict=True) if row.state == "running"]
    to_come = [left for left, row in zip(rest, open_, strict=True) if row.state == "waiting"]
    to_come += [each] * (total - len(rows))
    # When each worker is free; other machines may have some too.
    free = running + [0.0] * (workers - len(running))
    heapq.heapify(free)
    for seconds in to_come:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def _rest(row: TrialRow, each: float, validations: float) -> float:
    """Return the seconds that a trial will still take.

    Args:
        row: The trial's.
        each: Seconds that others took.
        validations: How many a finished trial has.
    """
    seconds, done = row.seconds or 0.0, _validations(row)
    if not done:
        # One that is late is taken to be late by as much again: it never ends at once.
        return abs(each - seconds)
    # It is somewhere between two validations, and a test may follow the last one.
    return seconds * max(validations - done + 0.5, 0.5) / (done + 0.5)


def _validations(row: TrialRow) -> int:
    """Return how often a trial has validated; epochs, where the metric is not a validation's."""
    return len(row.history) or (0 if row.epoch is None else row.epoch + 1)
