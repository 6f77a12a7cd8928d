"""The shards of a split, each compared with its SHA-256 when it is opened first."""

import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

import torch

from lightning_colorize.data.shards.errors import ShardError
from lightning_colorize.data.shards.layout import OpenShard
from lightning_colorize.data.shards.manifest import Shard
from lightning_colorize.data.shards.store import Store, one_line

_UNKNOWN, _WHOLE, _DAMAGED, _MISSING = range(4)

_REASONS = {_DAMAGED: "its SHA-256 is not the one in pack.json", _MISSING: "there is no such file"}

_TO_MEND = (
    "run pack again, which makes it anew, or leave its pictures out with "
    "--data.source lightning_colorize.data.sources.ShardSource --data.source.on_corrupt skip"
)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return _digest(file)


def _digest(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


class CheckedShards:
    """The shards of a split.

    What is known of each stands in memory that worker processes share: one of them reads a shard
    through, and the others need not.

    Args:
        store: Where they lie.
        shards: Which.
        skip: Go on without those that are damaged.
    """

    def __init__(self, store: Store, shards: Sequence[Shard], skip: bool) -> None:
        self.store = store
        self.shards = shards
        self.skip = skip
        self._known = torch.full((len(shards),), _UNKNOWN, dtype=torch.uint8)
        self._known.share_memory_()  # type: ignore[no-untyped-call]

    def open(self, index: int) -> OpenShard:
        """Open a shard; it is fetched and checked first, if need be.

        Raises:
            ShardError: If it cannot be fetched, is missing, or is not what was packed.
        """
        if self._known[index] in (_UNKNOWN, _WHOLE):
            for _ in range(2):
                if (opened := self._opened(index)) is not None:
                    return opened
                # A copy may be damaged, or deleted to make room, where the original is whole.
                if not self.store.discard(self.shards[index].file):
                    break
        reason = _REASONS[int(self._known[index])]
        raise self._error(index, reason, None if self.skip else _TO_MEND)

    def place(self, index: int) -> str:
        """Return where a shard lies, for messages."""
        return self.store.place(self.shards[index].file.file)

    def _opened(self, index: int) -> OpenShard | None:
        try:
            opened = OpenShard(self.store.path(self.shards[index].file))
            if self._known[index] != _WHOLE:
                self._check(index, opened)
        except FileNotFoundError:
            self._known[index] = _MISSING
        except Exception as error:
            # A network's, and each file system has classes of its own.
            raise self._error(
                index, one_line(error), "resume the run when it can be read"
            ) from error
        return opened if self._known[index] == _WHOLE else None

    def _check(self, index: int, opened: OpenShard) -> None:
        with _alone(opened.descriptor):
            if self._known[index] != _WHOLE:  # another process may have been at it meanwhile
                with open(opened.descriptor, "rb", closefd=False) as file:
                    whole = _digest(file) == self.shards[index].file.sha256
                self._known[index] = _WHOLE if whole else _DAMAGED

    def _error(self, index: int, reason: str, advice: str | None) -> ShardError:
        return ShardError(self.place(index), reason, self.shards[index].pictures, advice)


@contextmanager
def _alone(descriptor: int) -> Iterator[None]:
    """Keep other processes out that do the same; where files cannot be locked, let them."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
