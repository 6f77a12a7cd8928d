"""The shards of a split, each verified by its SHA-256 when it is first opened or fetched."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.shards.layout import OpenShard
from lightning_colorize.data.shards.manifest import Shard, sha256_of
from lightning_colorize.data.shards.store import DamagedCopy, Store, one_line

try:
    import fcntl
except ImportError:  # not on Windows, where several processes may verify the same shard
    fcntl = None  # type: ignore[assignment]

_UNKNOWN, _INTACT, _DAMAGED, _MISSING = range(4)

_REASONS = {_DAMAGED: "its SHA-256 is not the one in pack.json", _MISSING: "there is no such file"}

_ADVICE = (
    "run pack again, or leave its images out with "
    "--data.source lightning_colorize.data.sources.ShardSource --data.source.on_corrupt skip"
)


class ShardError(ImageError):
    """An image cannot be read because its whole shard cannot be read.

    Args:
        location: The shard's path or URL.
        reason: What is wrong with it.
        images: How many images it contains.
        advice: What to do if the run has to stop; None if it continues without these images.
    """

    def __init__(self, location: str, reason: str, images: int, advice: str | None) -> None:
        super().__init__(Path(location), reason)
        self.location = location
        self.advice = advice
        # The images that replace these come from all over the next shard.
        self.leap = images

    def __str__(self) -> str:
        # Not the path, which would lose a slash of a URL.
        return f"{self.location}: {self.reason}"

    def __reduce__(self) -> tuple[type["ShardError"], tuple[str, str, int, str | None]]:  # type: ignore[override]
        return type(self), (self.location, self.reason, self.leap, self.advice)


class CheckedShards:
    """The shards of a split.

    Worker processes share the state of each shard, so only one of them verifies it.
    """

    def __init__(self, store: Store, shards: Sequence[Shard], skip: bool) -> None:
        self.store = store
        self.shards = shards
        self.skip = skip
        self._states = torch.full((len(shards),), _UNKNOWN, dtype=torch.uint8)
        self._states.share_memory_()  # type: ignore[no-untyped-call]

    def open(self, index: int) -> OpenShard:
        """Open a shard, fetched and verified first if needed.

        Raises:
            ShardError: If it cannot be fetched, is missing, or is not the one that was packed.
        """
        state = int(self._states[index])
        for _ in range(0 if state in _REASONS else 2):
            opened, state = self._open(index)
            if opened is not None:
                return opened
            # A cached copy may be damaged while the original is intact.
            if not self.store.discard(self.shards[index]):
                break
        # Not before the last try: other processes that wait for the shard would give up.
        self._states[index] = state
        raise self._error(index, _REASONS[state], None if self.skip else _ADVICE)

    def locate(self, index: int) -> str:
        """Return the path or URL of a shard, for messages."""
        return self.store.locate(self.shards[index].file)

    def _open(self, index: int) -> tuple[OpenShard | None, int]:
        try:
            opened, checked = self.store.open(self.shards[index])
            if checked or self._states[index] == _INTACT or self._is_intact(index, opened):
                self._states[index] = _INTACT
                return opened, _INTACT
            return None, _DAMAGED
        except DamagedCopy:
            return None, _DAMAGED
        except FileNotFoundError:
            return None, _MISSING
        except Exception as error:  # file systems raise classes of their own
            advice = "resume the run when it can be read"
            raise self._error(index, one_line(error), advice) from error

    def _is_intact(self, index: int, opened: OpenShard) -> bool:
        with _locked(opened.descriptor):
            if self._states[index] == _INTACT:  # verified by another process in the meantime
                return True
            with open(opened.descriptor, "rb", closefd=False) as file:
                intact = sha256_of(file) == self.shards[index].sha256
            if intact:
                self._states[index] = _INTACT  # before others obtain the lock
            return intact

    def _error(self, index: int, reason: str, advice: str | None) -> ShardError:
        return ShardError(self.locate(index), reason, self.shards[index].images, advice)


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Lock a file against other processes, if the file system supports locks."""
    with suppress(OSError, AttributeError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError, AttributeError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
