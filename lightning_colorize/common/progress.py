"""Progress reporting: a bar on a terminal, a line every 30 s otherwise."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lightning_colorize.common.processes import is_first_process
from lightning_colorize.common.text import format_time

Item = TypeVar("Item")


class LineClock:
    """Says when to print the next line to a log or pipe: every 30 s."""

    seconds = 30.0

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Restart the interval."""
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Return whether a line is due, and if so, restart the interval."""
        due = time.monotonic() - self._last >= self.seconds
        if due:
            self.restart()
        return due


class _Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g}/s", "progress.data.speed")


def progress(items: Iterable[Item], total: int, doing: str) -> Iterator[Item]:
    """Yield the items and show on stderr how many are done, on rank 0.

    `doing` is the label: one or two words.
    """
    console = Console(stderr=True)
    if not is_first_process():
        yield from items
    elif console.is_terminal:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate()
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            yield from bar.track(items, total, description=doing)
    else:
        clock, start = LineClock(), time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            if clock.is_due():
                rate = done / (time.monotonic() - start)
                left = format_time((total - done) / rate)
                line = f"{doing}: {done:,}/{total:,}, {rate:.3g}/s, {left} left"
                print(line, file=sys.stderr, flush=True)
