"""A sweep's trials as a table for a terminal, and in one line."""

import heapq
from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightning_colorize.search.labels import UNKNOWN, Labels, clock, number
from lightning_colorize.search.sampling import trials_in_all
from lightning_colorize.search.status import TrialRow, best
from lightning_colorize.search.sweep_file import Metric, Sweep
from lightning_colorize.search.time_left import ENDED

_STYLES = {
    "waiting": "dim",
    "running": "cyan",
    "finished": "green",
    "pruned": "yellow",
    "failed": "red",
}
_BEST_SHOWN = 3
# The summary, the heading between an empty line and a rule, the empty line below, the line that
# says how many are left out, and the cursor's.
_OTHER_LINES = 7


def table_of(
    rows: Sequence[TrialRow],
    sweep: Sweep,
    labels: Labels,
    left: float | None,
    room: int | None = None,
) -> RenderableType:
    """Return a summary and a table below it.

    Args:
        rows: All trials.
        sweep: Theirs.
        labels: The sweep's.
        left: Seconds that the sweep will still take; None where that is not known.
        room: Lines that there are; None for as many as it takes.
    """
    metric = sweep.metric
    first = None if metric is None else best(rows, metric.goal)
    shown = rows if room is None else _chosen(rows, sweep, max(1, room - _OTHER_LINES))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    # The column that gives way where the terminal is narrow.
    table.add_column("parameters")
    table.add_column("epoch", justify="right", no_wrap=True)
    if metric is not None:
        table.add_column(metric.name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for row in shown:
        cells = [
            str(row.number),
            row.state,
            labels.changes(row.values),
            UNKNOWN if row.epoch is None else str(row.epoch + 1),
        ]
        if metric is not None:
            cells += [number(_so_far(row, metric)), "best" if row is first else ""]
        cells.append(clock(row.seconds))
        # One line each, and what is in brackets in a value is no markup.
        texts = [Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells]
        texts[1].stylize(_STYLES[row.state])
        table.add_row(*texts, style="bold" if row is first else None)
    more = len(rows) - len(shown)
    below = [Text(f"and {more:,} more", style="dim")] if more else []
    head = Text(f"{sweep.name}: {summary(rows, sweep, left)}", no_wrap=True, overflow="ellipsis")
    return Group(head, *([table] if rows else []), *below)


def summary(rows: Sequence[TrialRow], sweep: Sweep, left: float | None) -> str:
    """Return how a sweep goes, in one line.

    Args:
        rows: All trials.
        sweep: Theirs.
        left: Seconds that it will still take; None where that is not known.
    """
    count = Counter[str](row.state for row in rows)
    total = trials_in_all(sweep)
    done = sum(count[state] for state in ENDED)
    words = [f"{done:,} of {total:,} trials ended" if total else f"{done:,} trials ended"]
    others = [f"{count[state]:,} {state}" for state in ("pruned", "failed") if count[state]]
    if others:
        words[0] += f" ({', '.join(others)})"
    words += [f"{count[state]:,} {state}" for state in ("running", "waiting") if count[state]]
    first = None if sweep.metric is None else best(rows, sweep.metric.goal)
    if first is not None:
        (said,) = metric_words(sweep.metric, first.value)
        words.append(f"best {said} (trial {first.number})")
    if left:
        words.append(f"{clock(left)} left")
    return ", ".join(words)


def metric_words(metric: Metric | None, value: float | None) -> list[str]:
    """Return a trial's value in words, if it has one."""
    return [] if metric is None or value is None else [f"{metric.name} {number(value)}"]


def _so_far(row: TrialRow, metric: Metric) -> float | None:
    """Return a trial's value, or the best one that it has had up to now."""
    if row.value is not None or not row.history:
        return row.value
    return max(row.history) if metric.goal == "maximize" else min(row.history)


def _chosen(rows: Sequence[TrialRow], sweep: Sweep, most: int) -> list[TrialRow]:
    """Return what runs, the best and what has ended last, by number."""
    by_state = [
        [row for row in rows if row.state == "running"],
        _best_few(rows, sweep),
        [row for row in reversed(rows) if row.state in ENDED],
        [row for row in rows if row.state == "waiting"],
    ]
    chosen = {row.number: row for some in by_state for row in some}
    return sorted(list(chosen.values())[:most], key=lambda row: row.number)


def _best_few(rows: Sequence[TrialRow], sweep: Sweep) -> list[TrialRow]:
    if sweep.metric is None:
        return []
    valued = [(row.value, row) for row in rows if row.state == "finished" and row.value is not None]
    choose = heapq.nlargest if sweep.metric.goal == "maximize" else heapq.nsmallest
    return [row for _, row in choose(_BEST_SHOWN, valued, key=lambda pair: pair[0])]
