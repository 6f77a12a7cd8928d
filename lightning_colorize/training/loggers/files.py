"""Metrics and images as files of the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lightning_colorize.runs.folder import METRICS, THROUGHPUT
from lightning_colorize.runs.images import ImageArray, write_image
from lightning_colorize.runs.metrics_file import MetricsFile
from lightning_colorize.training.loggers.base import FolderLogger

_PREFIX = "throughput/"


class CsvRun(FolderLogger):
    """Logs metrics to `<run>/metrics.csv`, which grows over resumes.

    Throughput differs between equal runs, so it goes into `throughput.csv`: equal runs leave equal
    metrics.
    """

    description = "CSV"

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        super().__init__(folder)
        self._resume_step = resume_step
        self._files: dict[str, MetricsFile] = {}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add metrics to the row of a step; without a step, to the last row."""
        values = {name: v.item() if isinstance(v, Tensor) else v for name, v in metrics.items()}
        rates = {name: value for name, value in values.items() if name.startswith(_PREFIX)}
        others = {name: value for name, value in values.items() if name not in rates}
        for name, part in ((THROUGHPUT, rates), (METRICS, others)):
            if part and name not in self._files:
                self._files[name] = MetricsFile(self._folder / name, self._resume_step)
            if part:
                self._files[name].update(step, part)


class ImageFiles(FolderLogger):
    """Writes images to `<run>/images/`; ignores metrics."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Do nothing."""

    @rank_zero_only
    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Write a PNG file."""
        write_image(self._folder, name, image, step)
