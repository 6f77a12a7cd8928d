"""A sweep's trials: a live table on a terminal, lines elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lightning_colorize.common.progress import LineClock
from lightning_colorize.common.text import UNKNOWN, format_time
from lightning_colorize.metrics.spec import cost
from lightning_colorize.sweeps.spec import Sweep, SweepMetric
from lightning_colorize.sweeps.status import (
    ENDED,
    Labels,
    TrialRow,
    best,
    current_rows,
    format_value,
    leaderboard,
    not_beaten,
    read_baselines,
    rows,
    seconds_left,
)
from lightning_colorize.sweeps.storage import is_transient
from lightning_colorize.sweeps.study import Study

_STYLES = {
    "waiting": "dim",
    "running": "cyan",
    "finished": "green",
    "pruned": "yellow",
    "failed": "red",
}
_BEST_SHOWN = 3
# The summary, the heading between an empty line and a rule, the line with the number of other
# trials, the empty line below, and the cursor's.
_OTHER_LINES = 7
# Reading hundreds of trials takes tenths of a second of a core that trials need.
_REST = 20
_WIDE = 1000


class LiveTable:
    """Shows a sweep's trials while workers run: `with LiveTable(...) as table: table.tick()`.

    On a terminal a table is updated in place. Elsewhere a line is printed when a trial ends, and
    every 30 s if none does.
    """

    def __init__(self, study: Study, workers: int, console: Console | None = None) -> None:
        self._study = study
        self._workers = workers
        self._console = console or Console(stderr=True)
        self._labels = Labels(study.sweep)
        self._live: Live | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                # Piped output does not belong on this console.
                redirect_stdout=sys.stdout.isatty(),
            )
        self._printed: set[int] = set()
        self._clock = LineClock()
        self._next_update = float("-inf")

    def __enter__(self) -> "LiveTable":
        """Start; trials that have already ended get no line."""
        self._printed = {row.number for row in rows(self._study) if row.state in ENDED}
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._update()
        finally:
            if self._live is not None:
                self._live.stop()

    def hide(self) -> None:
        """Leave no table behind, because the final one follows on the same terminal."""
        if self._live is not None and sys.stdout.isatty():
            self._live.transient = True

    def tick(self) -> None:
        """Update the table if it is time; cheap to call often."""
        if time.monotonic() >= self._next_update:
            self._update()

    def _update(self) -> None:
        start = time.monotonic()
        try:
            self._show(current_rows(self._study))
        except Exception as error:
            # The workers wait for a database that restarts, and report it.
            if not is_transient(error):
                raise
        now = time.monotonic()
        self._next_update = now + _REST * (now - start)

    def _show(self, trials: Sequence[TrialRow]) -> None:
        left = seconds_left(trials, self._study.sweep, self._workers)
        if self._live is not None:
            shown = table_of(trials, self._study.sweep, left, self._console.height)
            self._live.update(shown, refresh=True)
            return
        for row in trials:
            if row.state in ENDED and row.number not in self._printed:
                self._printed.add(row.number)
                self._print(self._ending(row, trials))
        if self._clock.is_due():
            self._print(summary(trials, self._study.sweep, left))

    def _ending(self, row: TrialRow, trials: Sequence[TrialRow]) -> str:
        metric = self._study.sweep.metric
        words = []
        if metric is not None and row.value is not None:
            words.append(f"{metric.name} {format_value(row.value)}")
        known = [other for other in trials if other.number in self._printed]
        if best(known, self._study.sweep.mode) is row:
            words[0] += " (best)"
        if row.reason is not None:
            words.append(row.reason)
        line = f"trial {row.number} {row.state}: {', '.join([*words, format_time(row.seconds)])}"
        changes = self._labels.changes(row.values)
        return f"{line}; {changes}" if changes else line

    def _print(self, line: str) -> None:
        self._clock.restart()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_table(study: Study, console: Console | None = None) -> None:
    """Print a sweep's trials, with the baselines of the best trial's data."""
    if console is None:
        console = Console(width=None if sys.stdout.isatty() else _WIDE)
    trials, metric = rows(study), study.sweep.metric
    running = sum(row.state == "running" for row in trials)
    left = seconds_left(trials, study.sweep, running) if running else None
    height = console.height if console.is_terminal else None
    baselines, remark = {}, None
    if metric is not None and (entries := leaderboard(trials, metric.mode)):
        baselines = read_baselines(entries[0], metric)
        remark = not_beaten(entries[0], metric, baselines)
    console.print(table_of(trials, study.sweep, left, height, baselines))
    if remark is not None:
        console.print(Text(f"{remark}\n", style="yellow"))


def table_of(
    trials: Sequence[TrialRow],
    sweep: Sweep,
    left: float | None,
    height: int | None = None,
    baselines: Mapping[str, float] = MappingProxyType({}),
) -> RenderableType:
    """Return a summary and a table below it, with the baselines' metric in the last rows.

    `left` is the remaining time in seconds; a height of None means no limit.
    """
    shown = trials
    if height is not None:
        shown = _chosen(trials, sweep, max(1, height - _OTHER_LINES - len(baselines)))
    first = best(trials, sweep.mode)
    labels = Labels(sweep)
    head = _line(f"{sweep.name}: {summary(trials, sweep, left)}")
    if not trials:
        return head
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for short in labels.names.values():
        # These get narrower on a narrow terminal.
        table.add_column(_line(short))
    table.add_column("epoch", justify="right", no_wrap=True)
    if sweep.metric is not None:
        table.add_column(_line(sweep.metric.name), justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for row in shown:
        cells: list[str | Text] = [str(row.number), Text(row.state, style=_STYLES[row.state])]
        cells += [
            _line(labels.value(name, row.values[name]) if name in row.values else UNKNOWN)
            for name in labels.names
        ]
        cells.append(UNKNOWN if row.epoch is None else str(row.epoch))
        if sweep.metric is not None:
            cells.append(format_value(_so_far(row, sweep.metric)))
            cells.append("best" if row is first else "")
        table.add_row(*cells, format_time(row.seconds), style="bold" if row is first else None)
    for name, value in baselines.items():
        blank = [""] * (len(labels.names) + 1)
        table.add_row("baseline", name, *blank, format_value(value), style="dim")
    more = len(trials) - len(shown)
    below = [Text(f"and {more:,} more", style="dim")] if more else []
    # The last line is empty: behind a full one, the ^C that a terminal echoes starts a new line,
    # and a live table is then drawn too low.
    return Group(head, Text(""), table, *below, Text(""))


def _line(text: str) -> Text:
    # Brackets in a value are not markup.
    return Text(text, no_wrap=True, overflow="ellipsis")


def _so_far(row: TrialRow, metric: SweepMetric) -> float | None:
    """Return a trial's value, or its best one so far."""
    if row.value is not None or not row.history:
        return row.value
    return min(row.history, key=lambda value: cost(value, metric.mode))


def summary(trials: Sequence[TrialRow], sweep: Sweep, left: float | None) -> str:
    """Return the progress of a sweep, in one line."""
    count = Counter[str](row.state for row in trials)
    total = sweep.trial_count
    done = sum(count[state] for state in ENDED)
    words = [f"{done:,} of {total:,} trials ended" if total else f"{done:,} trials ended"]
    others = [f"{count[state]:,} {state}" for state in ("pruned", "failed") if count[state]]
    if others:
        words[0] += f" ({', '.join(others)})"
    if left is not None and round(left):
        words.append(f"about {format_time(left)} left")
    words += [f"{count[state]:,} {state}" for state in ("running", "waiting") if count[state]]
    first = best(trials, sweep.mode)
    if sweep.metric is not None and first is not None:
        value = f"{sweep.metric.name} {format_value(first.value)}"
        words.append(f"best {value} (trial {first.number})")
    return ", ".join(words)


def _chosen(trials: Sequence[TrialRow], sweep: Sweep, most: int) -> list[TrialRow]:
    """Return the running trials, the best and the last ended ones, by number."""
    ranked = leaderboard(trials, sweep.mode)
    by_state = [
        [row for row in trials if row.state == "running"],
        [row for entry in ranked for row in entry.trials][:_BEST_SHOWN],
        [row for row in reversed(trials) if row.state in ENDED],
        [row for row in trials if row.state == "waiting"],
    ]
    chosen = {row.number: row for some in by_state for row in some}
    return sorted(list(chosen.values())[:most], key=lambda row: row.number)
