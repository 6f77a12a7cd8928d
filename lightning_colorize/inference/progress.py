"""Progress over many pictures: a bar on a terminal, a line every 30 s elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], total: int, doing: str, seconds: float = 30.0
) -> Iterator[Item]:
    """Yield the items and show on stderr how many are done.

    Args:
        items: Worked on one after the other.
        total: Their number.
        doing: What is being done, in a word or two.
        seconds: Between two lines where no terminal shows a bar.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, doing, total, console=console, transient=True)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            rate = done / (now - start)
            left = timedelta(seconds=round((total - done) / rate))
            print(f"{doing}: {done}/{total}, {rate:.3g}/s, {left} left", file=sys.stderr)
