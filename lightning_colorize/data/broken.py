"""What happens when pictures cannot be read: they are listed, and too many stop the run."""

import sys
from pathlib import Path

from lightning_colorize.data.files import PictureError
from lightning_colorize.errors import UsageError


class BrokenPictures:
    """The broken pictures of one split.

    Args:
        split: Its name, for the messages.
        total: Its number of pictures.
        max_share: The largest share that may be broken.
        report: The file that lists them.
    """

    def __init__(self, split: str, total: int, max_share: float, report: Path) -> None:
        self.split = split
        self.total = total
        self.max_share = max_share
        self.report = report
        self._reasons: dict[str, str] = {}

    def add(self, errors: list[PictureError]) -> None:
        """Take note of pictures that could not be read.

        Raises:
            UsageError: If their share is now above `max_share`.
        """
        new = {str(e.path): e.reason for e in errors if str(e.path) not in self._reasons}
        if not new:
            return
        first_time = not self._reasons
        self._reasons |= new
        self.report.parent.mkdir(parents=True, exist_ok=True)
        with self.report.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{path}\t{reason}\n" for path, reason in new.items())
        found = len(self._reasons)
        if found > self.max_share * self.total:
            path, reason = next(iter(self._reasons.items()))
            raise UsageError(
                f"{found} of {self.total} {self.split} pictures cannot be read "
                f"(first: {path}: {reason}; all in {self.report}); "
                f"mend or remove them, or allow more with data.max_broken_share "
                f"(now {self.max_share:g})"
            )
        if first_time:
            print(
                f"Skipping {found} broken {self.split} picture(s), listed in {self.report}",
                file=sys.stderr,
            )
