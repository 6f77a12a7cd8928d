"""Progress of long work: a bar on a terminal, a line every 30 s otherwise."""

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from lightning_colorize.common.processes import is_first_process

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], total: int, doing: str, seconds: float = 30.0, bar_from: int = 0
) -> Iterator[Item]:
    """Yield the items and show on stderr how many are done, on rank 0.

    Args:
        items: The items.
        total: Their number.
        doing: What is done, in a word or two.
        seconds: Seconds between lines if stderr is not a terminal.
        bar_from: Show no bar for fewer items.
    """
    if not is_first_process():
        yield from items
        return
    console = Console(stderr=True)
    if console.is_terminal and total >= bar_from:
        columns = (*Progress.get_default_columns(), _Rate())
        with Progress(*columns, console=console, transient=True) as bar:
            yield from bar.track(items, total, description=doing)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            rate = done / (now - start)
            left = timedelta(seconds=round((total - done) / rate))
            line = f"{doing}: {done:,}/{total:,}, {rate:.3g}/s, {left} left"
            print(line, file=sys.stderr, flush=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Return the items per second, once they are known."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")
