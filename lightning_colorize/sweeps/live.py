"""How a sweep goes: a table on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lightning_colorize.sweeps.baselines import not_beaten, read_baselines
from lightning_colorize.sweeps.labels import Labels, clock
from lightning_colorize.sweeps.leaderboard import leaderboard
from lightning_colorize.sweeps.retry import is_passing
from lightning_colorize.sweeps.status import TrialRow, best, rows
from lightning_colorize.sweeps.study import Study
from lightning_colorize.sweeps.table import metric_words, summary, table_of
from lightning_colorize.sweeps.time_left import ENDED, seconds_left

_LINE_EVERY = 30.0
# Looking at hundreds of trials takes tenths of a second, of a core that trials need.
_REST = 20
_WIDE = 1000


class LiveTable:
    """Shows a sweep's trials while workers run: `with LiveTable(...) as table: table.tick()`.

    On a terminal a table stays in place. Elsewhere there is a line when a trial ends, and every
    30 s if none does.

    Args:
        study: Whose trials.
        workers: How many trials run at the same time.
        console: Where; by default stderr.
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
                # What is piped elsewhere is not for this console.
                redirect_stdout=sys.stdout.isatty(),
            )
        self._said: set[int] = set()
        self._last_line = time.monotonic()
        self._next_look = float("-inf")

    def __enter__(self) -> "LiveTable":
        """Begin to show; trials that have ended already get no line."""
        self._said = {row.number for row in rows(self._study) if row.state in ENDED}
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show how it ended."""
        try:
            self._look()
        finally:
            if self._live is not None:
                self._live.stop()

    def hide(self) -> None:
        """Leave no table behind: the final one follows, on the same terminal."""
        if self._live is not None and sys.stdout.isatty():
            self._live.transient = True

    def tick(self) -> None:
        """Show what is new; as often as one likes, since little time is spent on it in all."""
        if time.monotonic() >= self._next_look:
            self._look()

    def _look(self) -> None:
        start = time.monotonic()
        try:
            self._show(rows(self._study))
        except Exception as error:
            # The workers wait for a database that restarts, and say so.
            if not is_passing(error):
                raise
        now = time.monotonic()
        self._next_look = now + _REST * (now - start)

    def _show(self, table: Sequence[TrialRow]) -> None:
        left = seconds_left(table, self._study.sweep, self._workers)
        if self._live is not None:
            width, height = self._console.size
            shown = table_of(table, self._study.sweep, self._labels, left, height, width)
            self._live.update(shown, refresh=True)
            return
        for row in table:
            if row.state in ENDED and row.number not in self._said:
                self._said.add(row.number)
                self._print(self._ending(row, table))
        if time.monotonic() - self._last_line >= _LINE_EVERY:
            self._print(summary(table, self._study.sweep, left))

    def _ending(self, row: TrialRow, table: Sequence[TrialRow]) -> str:
        metric = self._study.sweep.metric
        said = metric_words(metric, row.value)
        known = [other for other in table if other.number in self._said]
        if metric is not None and best(known, metric.goal) is row:
            said[0] += " (best)"
        if row.reason is not None:
            said.append(row.reason)
        line = f"trial {row.number} {row.state}: {', '.join([*said, clock(row.seconds)])}"
        changes = self._labels.changes(row.values)
        return f"{line}; {changes}" if changes else line

    def _print(self, line: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_table(study: Study, console: Console | None = None) -> None:
    """Print how a sweep stands, with the baselines of the best trial's data.

    Args:
        study: Whose trials; all of them where no terminal limits their number.
        console: Where; by default stdout.
    """
    if console is None:
        console = Console(width=None if sys.stdout.isatty() else _WIDE)
    table = rows(study)
    running = sum(row.state == "running" for row in table)
    left = seconds_left(table, study.sweep, running) if running else None
    width, height = console.size if console.is_terminal else (None, None)
    metric = study.sweep.metric
    places = [] if metric is None else leaderboard(table, metric.goal)
    baselines, remark = {}, None
    if metric is not None and places:
        baselines = read_baselines(places[0], metric)
        remark = not_beaten(places[0], metric, baselines)
    labels = Labels(study.sweep)
    console.print(table_of(table, study.sweep, labels, left, height, width, baselines))
    if remark is not None:
        console.print(Text(f"{remark}\n", style="yellow"))
