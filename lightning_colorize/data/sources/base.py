"""The contract of a source: a root (or nothing) to the pictures of three splits."""

from abc import ABC, abstractmethod
from pathlib import Path

from lightning_colorize.data.pictures import PictureSet
from lightning_colorize.errors import UsageError

Splits = dict[str, PictureSet]
"""Pictures of "train", "val" and "test"; a split that a source does not have is absent."""


class SourceError(UsageError):
    """A source that cannot be used: what is wrong and what to do, in one line."""


class Source(ABC):
    """Where pictures come from and how they are split."""

    def prepare(self, root: Path | None) -> None:
        """Download what is missing; called once, in one process, before `splits`."""
        return

    @abstractmethod
    def splits(self, root: Path | None) -> Splits:
        """Return the pictures of each split.

        Args:
            root: The folder (or file) given as `data.root`; None where none was given.

        Raises:
            SourceError: If there is nothing to read, in one line that says what to do.
        """
