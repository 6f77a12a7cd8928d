"""The shards of a split, each compared with its SHA-256 when it is opened first or fetched."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch

from lightning_colorize.data.shards.digest import digest
from lightning_colorize.data.shards.errors import ShardError
from lightning_colorize.data.shards.layout import OpenShard
from lightning_colorize.data.shards.manifest import Shard
from lightning_colorize.data.shards.store import DamagedCopy, Store, one_line

_UNKNOWN, _WHOLE, _DAMAGED, _MISSING = range(4)

_REASONS = {_DAMAGED: "its SHA-256 is not the one in pack.json", _MISSING: "there is no such file"}

_TO_MEND = (
    "run pack again, which makes it anew, or leave its images out with "
    "--data.source lightning_colorize.data.sources.ShardSource --data.source.on_corrupt skip"
)


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
        state = int(self._known[index])
        for _ in range(0 if state in _REASONS else 2):
            opened, state = self._opened(index)
            if opened is not None:
                return opened
            # A copy may be damaged where the original is whole.
            if not self.store.discard(self.shards[index].file):
                break
        # Not before the last attempt: other processes that ask meanwhile would give up.
        self._known[index] = state
        raise self._error(index, _REASONS[state], None if self.skip else _TO_MEND)

    def place(self, index: int) -> str:
        """Return where a shard lies, for messages."""
        return self.store.place(self.shards[index].file.file)

    def _opened(self, index: int) -> tuple[OpenShard | None, int]:
        try:
            opened, compared = self.store.open(self.shards[index].file)
            if compared or self._known[index] == _WHOLE or self._is_whole(index, opened):
                self._known[index] = _WHOLE
                return opened, _WHOLE
            return None, _DAMAGED
        except DamagedCopy:
            return None, _DAMAGED
        except FileNotFoundError:
            return None, _MISSING
        except Exception as error:
            # A network's, and each file system has classes of its own.
            raise self._error(
                index, one_line(error), "resume the run when it can be read"
            ) from error

    def _is_whole(self, index: int, opened: OpenShard) -> bool:
        with _alone(opened.descriptor):
            if self._known[index] == _WHOLE:  # another process has been at it meanwhile
                return True
            with open(opened.descriptor, "rb", closefd=False) as file:
                whole = digest(file) == self.shards[index].file.sha256
            if whole:
                self._known[index] = _WHOLE
            return whole

    def _error(self, index: int, reason: str, advice: str | None) -> ShardError:
        return ShardError(self.place(index), reason, self.shards[index].images, advice)


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
