"""What is said while pictures are read into memory: a bar on a terminal, a line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")

# Fewer are read before a bar could be seen.
_BAR_FROM = 500


def reading(pictures: Iterable[Item], total: int, seconds: float = 30.0) -> Iterator[Item]:
    """Yield what is read and show on stderr, in the first process, how many that are.

    Args:
        pictures: Read one after the other.
        total: Their number.
        seconds: Between two lines where no terminal shows a bar.
    """
    console = Console(stderr=True)
    if console.is_terminal and total >= _BAR_FROM and _first_process():
        doing = "Reading pictures into memory"
        yield from track(pictures, doing, total, console=console, transient=True)
        return
    last = time.monotonic()
    for done, picture in enumerate(pictures, start=1):
        yield picture
        if time.monotonic() - last >= seconds and _first_process():
            last = time.monotonic()
            print(f"read {done:,} of {total:,} pictures", file=sys.stderr, flush=True)


def _first_process() -> bool:
    # Lightning keeps it here from the start, before any process group is made.
    return not getattr(rank_zero_only, "rank", 0)
