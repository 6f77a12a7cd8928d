"""What happens when images cannot be read: they are listed, and too many stop the run."""

import sys
from pathlib import Path

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.dataset import CorruptImage
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.name_list import name_with_reason, read_name_list
from lightning_colorize.data.shards.errors import ShardError

# So many are named where no file lists them.
_NAMED = 5


class TooManyCorrupt(WorkError):
    """More images cannot be read than `data.max_broken_share` allows, found out at work."""


class CorruptImages:
    """The corrupt images of a whole set, all its splits together.

    One corrupt image is always tolerated: of a small set it would be a large share. Of several
    processes each counts those that it meets itself, against the whole set: over the epochs each
    meets nearly all training images.

    Args:
        total: Images of all splits.
        max_share: The largest share that may be corrupt.
        report: The file that lists them, in the form that `exclude_list` takes: the name, under a
            comment that says what is wrong. None for no file; then up to five are named.
    """

    def __init__(self, total: int, max_share: float, report: Path | None = None) -> None:
        self.total = total
        self.max_share = max_share
        self.report = report
        self._found: dict[str, ImageError] = {}
        self._shards: set[str] = set()

    def add(
        self,
        corrupt: list[CorruptImage],
        failure: type[Exception] = UsageError,
        reported_by_rank_zero: bool = False,
    ) -> None:
        """Take note of images that could not be read.

        Args:
            corrupt: What could not be read.
            failure: What is raised where there are too many: wrong use as long as nothing has
                begun.
            reported_by_rank_zero: Another process has met the same images and tells of them.

        Raises:
            WorkError: If a shard cannot be read that the run cannot do without.
            Exception: `failure`, if they are now too many.
        """
        for _, error in corrupt:
            if isinstance(error, ShardError) and error.place not in self._shards:
                self._shards.add(error.place)
                if error.advice is not None:
                    raise WorkError(f"{error}: {error.advice}")
                _say(f"Going on without the {error.leap:,} images of {error}")
        new = dict(item for item in corrupt if item.name not in self._found)
        if not new:
            return
        before = len(self._found)
        self._found |= new
        if self.report is not None and not reported_by_rank_zero:
            _append(self.report, new)
        found = len(self._found)
        if found > max(1, self.max_share * self.total):
            all_in = "" if self.report is None else f"; all in {self.report}"
            raise failure(
                f"{found} of {self.total} images cannot be read "
                f"(first: {next(iter(self._found.values()))}{all_in}); "
                f"mend or remove them, or allow more with data.max_broken_share "
                f"(now {self.max_share:g})"
            )
        if reported_by_rank_zero:
            return
        images = "image" if len(new) == 1 else "images"
        if self.report is None and before < _NAMED:
            named = [str(error) for error in new.values()][: _NAMED - before]
            more = f" and {len(new) - len(named)} more" if len(new) > len(named) else ""
            _say(f"Skipping {len(new)} broken {images}: {', '.join(named)}{more}")
        elif self.report is not None and not before:
            _say(f"Skipping {len(new)} broken {images}, listed in {self.report}")


def _append(report: Path, new: dict[str, ImageError]) -> None:
    """Add to the list what it does not hold yet, from another process or before a resume."""
    listed = read_name_list(report) if report.is_file() else set()
    report.parent.mkdir(parents=True, exist_ok=True)
    with report.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(
            name_with_reason(name, error.reason)
            for name, error in new.items()
            if name not in listed
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr)
