"""The interface of a data source."""

import sys
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.data.image_set import ImageSet

Root = Path | str
"""The value of `data.root`: a local path, or a URL for fsspec as text."""

Splits = dict[str, ImageSet]
"""The images of "train", "val" and "test". A split without images is absent."""


class SourceError(UsageError):
    """A source cannot be used. The message is one line and says what to do."""


@cache  # a command may split a data set several times
def report(line: str) -> None:
    """Print a note on a data set, once."""
    if is_first_process():
        print(line, file=sys.stderr)


class Source(ABC):
    """Lists the images of a data set and splits them."""

    def prepare(self, root: Root | None) -> None:
        """Download the data set if needed. Called once, in one process, before `splits`."""
        return

    @abstractmethod
    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split.

        Args:
            root: The value of `data.root`, or None.

        Raises:
            SourceError: If it has no image.
        """


class GivenSplits(Source):
    """Splits that are known already."""

    def __init__(self, given: Splits) -> None:
        self.given = given

    def splits(self, root: Root | None) -> Splits:
        """Return them."""
        return self.given


def parse_root(text: str) -> Root:
    """Return a URL unchanged, and anything else as a path with `~` expanded."""
    return text if "://" in text else Path(text).expanduser()


def require_local(
    root: Root | None, reader: str, needed: str = "an image folder: pass --data.root FOLDER"
) -> Path:
    """Return a local path with `~` expanded; a SourceError for None or a URL."""
    if root is None:
        raise SourceError(f"{reader} needs {needed}")
    if isinstance(root, str):
        raise SourceError(
            f"{reader} reads local images, not {root}: pack them with lightning-colorize pack, "
            "and pass the URL of the shards"
        )
    return root.expanduser()
