"""A shard that cannot be read: which, why, and whether a run can go on without it."""

from pathlib import Path

from lightning_colorize.data.decoding.files import ImageError


class ShardError(ImageError):
    """An image that cannot be read because its whole shard cannot.

    Args:
        place: The shard's file or address.
        reason: What is wrong with it.
        images: How many it holds.
        advice: What to do, where the run has to end; None where it goes on without them.
    """

    def __init__(self, place: str, reason: str, images: int, advice: str | None) -> None:
        super().__init__(Path(place), reason)
        self.place = place
        self.advice = advice
        # Images in place of these come from all over the next shard.
        self.leap = images

    def __str__(self) -> str:
        # Not of the path, which spoils the slashes of an address.
        return f"{self.place}: {self.reason}"

    def __reduce__(self) -> tuple[type["ShardError"], tuple[str, str, int, str | None]]:  # type: ignore[override]
        return type(self), (self.place, self.reason, self.leap, self.advice)
