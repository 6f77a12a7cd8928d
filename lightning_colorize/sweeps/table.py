"""A sweep's trials as a table for a terminal, and in one line."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightning_colorize.sweeps.columns import GAP, Column, those_that_fit
from lightning_colorize.sweeps.hyperband import cost
from lightning_colorize.sweeps.labels import UNKNOWN, Labels, clock, number
from lightning_colorize.sweeps.spec import Metric, Sweep
from lightning_colorize.sweeps.status import TrialRow, best
from lightning_colorize.sweeps.time_left import ENDED

_STYLES = {
    "waiting": "dim",
    "running": "cyan",
    "finished": "green",
    "pruned": "yellow",
    "failed": "red",
}
_BEST_SHOWN = 3
# The summary, the heading between an empty line and a rule, the line that says how many are left
# out, the empty line below, and the cursor's.
_OTHER_LINES = 7


def table_of(
    rows: Sequence[TrialRow],
    sweep: Sweep,
    labels: Labels,
    left: float | None,
    height: int | None = None,
    width: int | None = None,
    baselines: Mapping[str, float] | None = None,
) -> RenderableType:
    """Return a summary and a table below it.

    Args:
        rows: All trials.
        sweep: Theirs.
        labels: The sweep's.
        left: Seconds that the sweep will still take; None where that is not known.
        height: Lines that there are; None for as many as it takes.
        width: Characters of a line; None for as many as it takes.
        baselines: Values of the metric that are shown below the trials', by name.
    """
    others = dict(baselines or {})
    most = None if height is None else max(1, height - _OTHER_LINES - len(others))
    shown = rows if most is None else _chosen(rows, sweep, most)
    first = None if sweep.metric is None else best(rows, sweep.metric.goal)
    head = Text(f"{sweep.name}: {summary(rows, sweep, left)}", no_wrap=True, overflow="ellipsis")
    if not rows:
        return head
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    columns = _columns(shown, first, sweep.metric, labels, others, width)
    for column in columns:
        table.add_column(_cell(column.head), justify=column.justify, no_wrap=not column.shrinks)
    styles = [_STYLES[row.state] for row in shown] + [""] * len(others)
    for index, style in enumerate(styles):
        cells = [_cell(column.cells[index]) for column in columns]
        cells[1].stylize(style)
        is_best = index < len(shown) and shown[index] is first
        table.add_row(*cells, style="bold" if is_best else "" if style else "dim")
    more = len(rows) - len(shown)
    below = [Text(f"and {more:,} more", style="dim")] if more else []
    # The last line is empty: behind a full one, the ^C that a terminal writes is on a further line,
    # and a live table is then drawn too low.
    return Group(head, Text(""), table, *below, Text(""))


def _columns(
    shown: Sequence[TrialRow],
    first: TrialRow | None,
    metric: Metric | None,
    labels: Labels,
    baselines: Mapping[str, float],
    width: int | None,
) -> list[Column]:
    """Return what is said of trials and, in the rows below them, of baselines."""
    none = [""] * len(baselines)
    numbers = [str(row.number) for row in shown]
    before = [
        Column("trial", [*numbers, *("baseline" for _ in baselines)], "right"),
        Column("state", [*(row.state for row in shown), *baselines]),
    ]
    epochs = [UNKNOWN if row.epoch is None else str(row.epoch + 1) for row in shown]
    epoch = [Column("epoch", [*epochs, *none], "right")]
    after = []
    if metric is not None:
        values = [number(_so_far(row, metric)) for row in shown]
        values += map(number, baselines.values())
        marks = ["best" if row is first else "" for row in shown]
        after += [Column(metric.name, values, "right"), Column("", [*marks, *none])]
    after.append(Column("time", [*(clock(row.seconds) for row in shown), *none], "right"))
    parameters = [
        Column(short, [*(_value(row, name, labels) for row in shown), *none], shrinks=True)
        for name, short in labels.names.items()
    ]
    if width is None or not parameters:
        return [*before, *parameters, *epoch, *after]
    # The first column has no gap before it.
    room = width + GAP - sum(column.width for column in [*before, *after])
    if sum(column.width for column in [*parameters, *epoch]) > room:
        epoch = []
    room -= sum(column.width for column in epoch)
    return [*before, *those_that_fit(parameters, room), *epoch, *after]


def _cell(text: str) -> Text:
    # One line, and what is in brackets in a value is no markup.
    return Text(text, no_wrap=True, overflow="ellipsis")


def _value(row: TrialRow, name: str, labels: Labels) -> str:
    return labels.value(name, row.values[name]) if name in row.values else UNKNOWN


def summary(rows: Sequence[TrialRow], sweep: Sweep, left: float | None) -> str:
    """Return how a sweep goes, in one line.

    Args:
        rows: All trials.
        sweep: Theirs.
        left: Seconds that it will still take; None where that is not known.
    """
    count = Counter[str](row.state for row in rows)
    total = sweep.trial_count
    done = sum(count[state] for state in ENDED)
    words = [f"{done:,} of {total:,} trials ended" if total else f"{done:,} trials ended"]
    others = [f"{count[state]:,} {state}" for state in ("pruned", "failed") if count[state]]
    if others:
        words[0] += f" ({', '.join(others)})"
    if left is not None and round(left):
        words.append(f"about {clock(left)} left")
    words += [f"{count[state]:,} {state}" for state in ("running", "waiting") if count[state]]
    first = None if sweep.metric is None else best(rows, sweep.metric.goal)
    if first is not None:
        (said,) = metric_words(sweep.metric, first.value)
        words.append(f"best {said} (trial {first.number})")
    return ", ".join(words)


def metric_words(metric: Metric | None, value: float | None) -> list[str]:
    """Return a trial's value in words, if it has one."""
    return [] if metric is None or value is None else [f"{metric.name} {number(value)}"]


def _so_far(row: TrialRow, metric: Metric) -> float | None:
    """Return a trial's value, or the best one that it has had up to now."""
    if row.value is not None or not row.history:
        return row.value
    return min(row.history, key=lambda value: cost(value, metric.goal))


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
    goal = sweep.metric.goal
    valued = [(row.value, row) for row in rows if row.state == "finished" and row.value is not None]
    first = heapq.nsmallest(_BEST_SHOWN, valued, key=lambda pair: cost(pair[0], goal))
    return [row for _, row in first]
