"""Loggers that write into the run folder: CSV and PNG files, and TensorBoard events."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lightning_colorize.common.files import write_atomic
from lightning_colorize.runs.folder import METRICS, TENSORBOARD, THROUGHPUT
from lightning_colorize.runs.images import ImageArray, write_image
from lightning_colorize.training.loggers.base import RunLogger

_PREFIX = "throughput/"


class RunFiles(RunLogger):
    """Logs metrics to `<run>/metrics.csv`, which grows over resumes, and images to `<run>/images/`.

    Throughput differs between equal runs, so it goes into `throughput.csv`: equal runs leave equal
    metrics.
    """

    name = version = ""  # a run folder is one version

    def __init__(self, folder: Path, csv: bool = True, resume_step: int | None = None) -> None:
        super().__init__()
        self.description = "CSV" if csv else ""
        self._folder = folder
        self._resume_step = resume_step
        self._files: dict[str, MetricsFile] = {}

    @property
    def save_dir(self) -> str:
        """The run folder, where Lightning's profilers write."""
        return str(self._folder)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add metrics to the row of a step; without a step, to the last row."""
        if not self.description:
            return
        name = THROUGHPUT if any(metric.startswith(_PREFIX) for metric in metrics) else METRICS
        if name not in self._files:
            self._files[name] = MetricsFile(self._folder / name, self._resume_step)
        values = {n: v.item() if isinstance(v, Tensor) else v for n, v in metrics.items()}
        self._files[name].update(step, values)

    @rank_zero_only
    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Write a PNG file."""
        write_image(self._folder, name, image, step)


class MetricsFile:
    """A CSV file with one row per step, complete on disk after every update.

    A value that is logged twice for a step, as by a killed and resumed run, is written once: the
    later one. Columns have a fixed order, so that equal runs leave equal files. (Lightning's
    CSVLogger spreads a step over several rows, and starts a new file when a run is resumed.)
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self.path = path
        # The first columns, which are always present.
        self._first = ["step"] if path.name == THROUGHPUT else ["step", "epoch"]
        self._columns: list[str] = []
        self._last_row_at = 0  # bytes
        rows = read_rows(path) if path.is_file() else []
        self._rows = {
            int(row["step"]): row
            for row in rows
            if resume_step is None or int(row["step"]) < resume_step
        }
        if rows:
            self._write_all()

    def update(self, step: int | None, metrics: Mapping[str, Any]) -> None:
        """Add metrics to the row of a step; without a step, to the last row."""
        last = max(self._rows, default=-1)
        step = max(last, 0) if step is None else step
        row = self._rows.setdefault(step, {"step": step})
        row |= metrics
        if step < last or not row.keys() <= set(self._columns):
            self._write_all()
            return
        with self.path.open("r+b") as file:  # each logger of a step adds to its row
            end = file.seek(0, io.SEEK_END)
            self._last_row_at = end if step > last else self._last_row_at
            file.seek(self._last_row_at)
            file.write(self._text([row]))
            file.truncate()

    def _write_all(self) -> None:
        names = {name for row in self._rows.values() for name in row}
        self._columns = [*self._first, *sorted(names - set(self._first))]
        rows = [self._rows[step] for step in sorted(self._rows)]
        head = self._text([dict(zip(self._columns, self._columns, strict=True)), *rows[:-1]])
        self._last_row_at = len(head)
        write_atomic(self.path, (head + self._text(rows[-1:])).decode())

    def _text(self, rows: list[dict[str, Any]]) -> bytes:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()


def read_rows(path: Path) -> list[dict[Any, Any]]:
    """Return the rows of a file as text by name, without empty cells and damaged rows."""
    text = path.read_text(encoding="utf-8", errors="replace")
    # A line without its end was being written when the process or the machine went down.
    whole = io.StringIO(text[: text.rfind("\n") + 1])
    rows = []
    for line in csv.DictReader(whole, quoting=csv.QUOTE_NONE):
        row: dict[Any, Any] = {name: value for name, value in line.items() if value}
        # Surplus cells have no name; a power loss leaves NULs.
        is_whole = None not in row and "\0" not in "".join(row.values())
        if is_whole and row.get("step", "").isdecimal():
            rows.append(row)
    return rows


_NO_HPARAMS = "run."  # where a run is stored is not a hyperparameter


class TensorBoardRun(RunLogger, TensorBoardLogger):
    """Logs metrics, images and the configuration to `<run>/tensorboard/`."""

    description = "TensorBoard"

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        super().__init__(
            save_dir=folder,
            name=TENSORBOARD,
            version="",
            default_hp_metric=False,
            purge_step=resume_step,
        )

    @rank_zero_only
    def log_hyperparams(  # type: ignore[override]
        self, params: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Log the configuration to the TEXT page, one line per name, and to the HPARAMS page.

        Lightning's logger shows hyperparameters only with metrics, which it would log as well.
        """
        from torch.utils.tensorboard.summary import hparams

        # Four spaces: Markdown would interpret the underscores of names.
        lines = [f"    {name}: {value}" for name, value in params.items()]
        self.experiment.add_text("config", "\n".join(lines), global_step=0)
        shown = {
            name.replace(".init_args", ""): value
            if isinstance(value, bool | int | float | str)
            else str(value)
            for name, value in params.items()
            if not name.startswith(_NO_HPARAMS)
        }
        # Without the experiment's summary: TensorBoard would use a single run's summary for all,
        # and hide arguments that only other runs have.
        _, start, _ = hparams(shown, {})  # type: ignore[no-untyped-call]
        self.experiment.file_writer.add_summary(start)

    @rank_zero_only
    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Log an image."""
        self.experiment.add_image(name, image, global_step=step, dataformats="HWC")

    @rank_zero_only
    def save(self) -> None:
        """Flush events; config.yaml replaces Lightning's hparams.yaml."""
        self.experiment.flush()

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """Close the files."""
        self.experiment.close()
