"""Shards opened, and thus fetched and checked, before their images are asked for."""

import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from lightning_colorize.data.decoding.files import ImageError


class Ahead:
    """A thread that opens shards ahead of the loader.

    Args:
        bring: Opens a shard.
        shards: The shards in the order in which they are needed, (n,).
        first: After how many images each is needed first, (n,), rising.
        lead: So many shards are brought before they are needed.
    """

    def __init__(
        self, bring: Callable[[int], object], shards: np.ndarray, first: np.ndarray, lead: int
    ) -> None:
        self._bring = bring
        self._shards = shards
        self._first = first
        self._lead = lead
        self._needed = 1
        self._stopped = False
        self._moved = threading.Condition()
        # A daemon: a file that is being fetched need not come to its end when the run does.
        threading.Thread(target=self._run, name="shards ahead", daemon=True).start()

    def read(self, images: int) -> None:
        """Take note that so many images have been read."""
        needed = int(np.searchsorted(self._first, images, side="right"))
        if needed != self._needed:
            with self._moved:
                self._needed = needed
                self._moved.notify()

    def stop(self) -> None:
        """Begin no further shard."""
        with self._moved:
            self._stopped = True
            self._moved.notify()

    def _run(self) -> None:
        for number, shard in enumerate(self._shards.tolist()):
            with self._moved:
                while not self._stopped and number >= self._needed + self._lead:
                    self._moved.wait()
                if self._stopped:
                    return
            # What is wrong with it is said when its images are read.
            with suppress(ImageError):
                self._bring(shard)


def first_uses(shards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shards in the order of their first use, and the place of each.

    Args:
        shards: The shard of each image that is read, (N,).
    """
    places = np.full(int(shards.max(initial=-1)) + 1, -1)
    # Of several values for one place, numpy keeps the last: backwards, that is the first use.
    places[shards[::-1]] = np.arange(len(shards))[::-1]
    used = np.flatnonzero(places >= 0)
    used = used[np.argsort(places[used], kind="stable")]
    return used, places[used]
