"""The contract of a source: a root (or nothing) to the images of three splits."""

from abc import ABC, abstractmethod
from pathlib import Path

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.images import ImageSet

Root = Path | str
"""What `data.root` names: a folder or file of this machine, or as text an address for fsspec."""

Splits = dict[str, ImageSet]
"""Images of "train", "val" and "test"; a split that a source does not have is absent."""


class SourceError(UsageError):
    """A source that cannot be used: what is wrong and what to do, in one line."""


class Source(ABC):
    """Where images come from and how they are split.

    Attributes:
        processes: Of this machine that read the same source; known before `splits` is called.
    """

    processes: int = 1

    def prepare(self, root: Root | None) -> None:
        """Download what is missing; called once, in one process, before `splits`."""
        return

    @abstractmethod
    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split.

        Args:
            root: What was given as `data.root`; None where nothing was.

        Raises:
            SourceError: If there is nothing to read, in one line that says what to do.
        """


def parse_root(text: str) -> Root:
    """Return what `data.root` names: an address as it is, a path with `~` expanded."""
    return text if "://" in text else Path(text).expanduser()


def require_local(root: Root, reader: str) -> Path:
    """Return a path of this machine, `~` expanded.

    Args:
        root: What was given.
        reader: What wants it, for the message.

    Raises:
        SourceError: If it is an address.
    """
    if isinstance(root, str):
        raise SourceError(
            f"{reader} reads images of this machine, not {root}: only ShardSource reads from an "
            "address, what lightning-colorize pack has packed"
        )
    return root.expanduser()
