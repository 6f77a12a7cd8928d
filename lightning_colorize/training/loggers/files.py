"""Metrics and images as files in the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lightning_colorize.runs.folder import METRICS, THROUGHPUT
from lightning_colorize.runs.images import ImageArray, write_image
from lightning_colorize.runs.metrics_file import MetricsFile
from lightning_colorize.training.loggers.base import RunLogger

_PREFIX = "throughput/"


class RunFiles(RunLogger):
    """Logs metrics to `<run>/metrics.csv`, which grows over resumes, and images to `<run>/images/`.

    Throughput differs between equal runs, so it goes into `throughput.csv`: equal runs leave equal
    metrics.
    """

    version = ""  # a run folder is one version

    def __init__(self, folder: Path, csv: bool = True, resume_step: int | None = None) -> None:
        super().__init__()
        self.description = "CSV" if csv else ""
        self._folder = folder
        self._resume_step = resume_step
        self._files: dict[str, MetricsFile] = {}

    @property
    def name(self) -> str:
        """The run's name."""
        return self._folder.name

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self._folder)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add metrics to the row of a step; without a step, to the last row."""
        if not self.description:
            return
        parts: dict[str, dict[str, Any]] = {THROUGHPUT: {}, METRICS: {}}
        for name, value in metrics.items():
            file = THROUGHPUT if name.startswith(_PREFIX) else METRICS
            parts[file][name] = value.item() if isinstance(value, Tensor) else value
        for file, values in parts.items():
            if values and file not in self._files:
                self._files[file] = MetricsFile(self._folder / file, self._resume_step)
            if values:
                self._files[file].update(step, values)

    @rank_zero_only
    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Write a PNG file."""
        write_image(self._folder, name, image, step)
