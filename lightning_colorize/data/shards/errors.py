"""The error of a shard that cannot be read."""

from pathlib import Path

from lightning_colorize.data.decoding.files import ImageError


class ShardError(ImageError):
    """An image cannot be read because its whole shard cannot be read.

    Args:
        place: The shard's path or URL.
        reason: What is wrong with it.
        images: How many images it contains.
        advice: What to do if the run has to stop; None if it continues without these images.
    """

    def __init__(self, place: str, reason: str, images: int, advice: str | None) -> None:
        super().__init__(Path(place), reason)
        self.place = place
        self.advice = advice
        # The images that replace these come from all over the next shard.
        self.leap = images

    def __str__(self) -> str:
        # Not the path, which would lose a slash of a URL.
        return f"{self.place}: {self.reason}"

    def __reduce__(self) -> tuple[type["ShardError"], tuple[str, str, int, str | None]]:  # type: ignore[override]
        return type(self), (self.place, self.reason, self.leap, self.advice)
