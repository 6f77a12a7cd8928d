"""Images that cannot be read: they are listed, and too many stop the run."""

import sys
from pathlib import Path

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.dataset import CorruptImage
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.name_list import name_with_reason, read_name_list
from lightning_colorize.data.shards.files import ShardError

# Without a report file, this many images are named on stderr.
_NAMED = 5


class TooManyCorrupt(WorkError):
    """After the run has started, more images are corrupt than `data.max_broken_share` allows."""


class CorruptImages:
    """Collects the corrupt images of all splits.

    One corrupt image is always tolerated, because it is a large share of a small data set. Each of
    several processes counts only its own, but over the epochs it reads nearly all training images.

    `max_share` is a share of `total`, the images of all splits. The file `report` lists them in the
    form that `exclude_list` accepts: the reason as a comment, then the name. None: up to five are
    named on stderr instead.
    """

    def __init__(self, total: int, max_share: float, report: Path | None = None) -> None:
        self.total = total
        self.max_share = max_share
        self.report = report
        self._found: dict[str, ImageError] = {}

    def add(
        self,
        corrupt: list[CorruptImage],
        failure: type[Exception] = UsageError,
        reported_by_rank_zero: bool = False,
    ) -> None:
        """Add images that could not be read; if there are too many, raise `failure`.

        With `reported_by_rank_zero`, rank 0 reads the same images and reports them.

        Raises:
            WorkError: If a shard cannot be read that the run needs.
        """
        for _, error in corrupt:
            if isinstance(error, ShardError):
                raise WorkError(str(error))
        new = dict(item for item in corrupt if item.name not in self._found)
        if not new:
            return
        before = len(self._found)
        self._found |= new
        if self.report is not None and not reported_by_rank_zero:
            _append(self.report, new)
        found = len(self._found)
        if found > max(1, self.max_share * self.total):
            listed = "" if self.report is None else f"; those read so far are in {self.report}"
            raise failure(
                f"{found} or more of {self.total} images cannot be read "
                f"(first: {next(iter(self._found.values()))}{listed}); "
                f"repair or remove them, or allow more with a larger --data.max_broken_share "
                f"(now {self.max_share:g})"
            )
        if reported_by_rank_zero or before >= (_NAMED if self.report is None else 1):
            return
        named = [str(error) for error in new.values()][: _NAMED - before]
        more = f" and {len(new) - len(named)} more" if len(new) > len(named) else ""
        listed = (
            f": {', '.join(named)}{more}" if self.report is None else f", listed in {self.report}"
        )
        print(f"Skipping {len(new)} broken image{'s' * (len(new) > 1)}{listed}", file=sys.stderr)


def _append(report: Path, new: dict[str, ImageError]) -> None:
    """Append the images that another process or an earlier start has not listed yet."""
    listed = read_name_list(report) if report.is_file() else set()
    report.parent.mkdir(parents=True, exist_ok=True)
    with report.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(
            name_with_reason(name, error.reason)
            for name, error in new.items()
            if name not in listed
        )
