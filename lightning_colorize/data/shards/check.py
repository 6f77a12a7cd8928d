"""The shards of a split, each verified by its SHA-256 when it is first opened or fetched."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.files import locked
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.shards.layout import OpenShard
from lightning_colorize.data.shards.manifest import Shard
from lightning_colorize.data.shards.store import DamagedShard, Store, one_line

_ADVICE = (
    "run pack again, or leave its images out with "
    "--data.source lightning_colorize.data.sources.ShardSource --data.source.on_corrupt skip"
)


class ShardError(ImageError):
    """An image cannot be read because its whole shard cannot be read.

    `images` is the number of images in the shard. `advice` says what to do when the run stops; None
    if it continues without these images.
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

    Worker processes share which shards are intact, so only one of them verifies each.
    """

    def __init__(self, store: Store, shards: Sequence[Shard], skip: bool) -> None:
        self.store = store
        self.shards = shards
        self.skip = skip
        self._intact = torch.zeros(len(shards), dtype=torch.bool)
        self._intact.share_memory_()  # type: ignore[no-untyped-call]
        self._unusable: dict[int, str] = {}

    def open(self, index: int) -> OpenShard:
        """Open a shard, fetched and verified first if needed.

        Raises:
            ShardError: If it cannot be fetched, is missing, or is not the one that was packed.
        """
        if index not in self._unusable:
            try:
                for _ in range(2):
                    with suppress(DamagedShard):
                        opened = self.store.open(self.shards[index])
                        if self._is_intact(index, opened):
                            return opened
                    # A cached copy may be damaged while the original is intact.
                    self.store.discard(self.shards[index])
                self._unusable[index] = "its SHA-256 is not the one in pack.json"
            except FileNotFoundError:
                self._unusable[index] = "there is no such file"
            except Exception as error:  # file systems raise classes of their own
                advice = "resume the run when it can be read"
                raise self._error(index, one_line(error), advice) from error
        raise self._error(index, self._unusable[index], None if self.skip else _ADVICE)

    def locate(self, index: int) -> str:
        """Return the path or URL of a shard, for messages."""
        return self.store.locate(self.shards[index].file)

    def _is_intact(self, index: int, opened: OpenShard) -> bool:
        if opened.verified:
            self._intact[index] = True
        if not self._intact[index]:
            with locked(opened.descriptor):
                # Another process may have verified it in the meantime.
                if not self._intact[index]:
                    with open(opened.descriptor, "rb", closefd=False) as file:
                        self._intact[index] = sha256_of(file) == self.shards[index].sha256
        return bool(self._intact[index])

    def _error(self, index: int, reason: str, advice: str | None) -> ShardError:
        return ShardError(self.locate(index), reason, self.shards[index].images, advice)
