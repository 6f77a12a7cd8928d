"""One run, read from its folder."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import GREY, cost, metric_goal
from lightning_colorize.runs.folder import CONFIG, METRICS, flatten, is_running, read_config
from lightning_colorize.runs.metrics_file import read_rows
from lightning_colorize.runs.result import RUNNING, RunResult

KILLED = "killed"
UNREADABLE = "unreadable"

# Not `nan`, nor the text that a user's own callback may log.
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Curves:
    """The validations in `metrics.csv`.

    Attributes:
        epochs: Epochs trained before each.
        images: Images seen before each; None if the result does not say how many a batch has.
        metrics: Values by name (`val/psnr`); None where one is missing.
    """

    epochs: list[float] = field(default_factory=list)
    images: list[float] | None = None
    metrics: dict[str, list[float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """One run, read from its folder; each part is read when first used.

    A file that is missing or broken gives an empty part, never an error: use `read_config` and
    `RunResult.read` where the reason matters.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The run as `experiment/name`."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration, nested."""
        try:
            return read_config(self.folder)
        except (UsageError, OSError):
            return {}

    @cached_property
    def config_text(self) -> str | None:
        """The configuration as the file has it; None if it cannot be read."""
        try:
            return (self.folder / CONFIG).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration, with dotted names."""
        return flatten(self.config)

    @property
    def result(self) -> RunResult | None:
        """The content of `result.json`; None for a run that has not written one."""
        return self._result[0]

    @cached_property
    def status(self) -> str:
        """The status of the result, or `killed`, or `unreadable` (a broken result)."""
        result, is_broken = self._result
        if is_broken:
            return UNREADABLE
        if is_running(self.folder):
            return RUNNING
        return KILLED if result is None or result.status == RUNNING else result.status

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Finite metrics by name, from the result; without a result, the best values so far."""
        if self.result is not None:
            return _known(self.result.metrics)
        best: dict[str, float] = {}
        for row in self.rows:
            for name, value in row.items():
                if name not in ("step", "epoch"):
                    best[name] = _better(name, best.get(name), value)
        return best

    @cached_property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Finite metrics of each baseline."""
        table = {} if self.result is None else self.result.baselines
        return {name: _known(metrics) for name, metrics in table.items()}

    @cached_property
    def epochs(self) -> int | None:
        """Epochs trained; for a run without a result, the last epoch in `metrics.csv`."""
        if self.result is not None:
            return self.result.epochs
        return next((int(row["epoch"]) for row in reversed(self.rows) if "epoch" in row), None)

    @cached_property
    def rows(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`: finite values by name, without damaged rows."""
        try:
            rows = read_rows(self.folder / METRICS)
        except OSError:
            return []
        return [{n: float(v) for n, v in row.items() if _NUMBER.fullmatch(v)} for row in rows]

    @cached_property
    def curves(self) -> Curves:
        """The validations of `metrics.csv`."""
        rows = [
            row
            for row in self.rows
            if {"step", "epoch"} <= row.keys() and any(name.startswith("val/") for name in row)
        ]
        names = dict.fromkeys(name for row in rows for name in row if name.startswith("val/"))
        each = self._images_per_step
        return Curves(
            epochs=[row["epoch"] + 1 for row in rows],
            images=None if each is None else [(row["step"] + 1) * each for row in rows],
            metrics={name: [row.get(name) for row in rows] for name in names},
        )

    def minus_grey(self, metric: str) -> float | None:
        """Return a metric minus that metric of the grey baseline; None if one is unknown."""
        grey = self.baselines.get(GREY, {})
        if metric in self.metrics and metric in grey:
            return self.metrics[metric] - grey[metric]
        return None

    @cached_property
    def _result(self) -> tuple[RunResult | None, bool]:
        """The result, and whether its file is broken."""
        try:
            return RunResult.read(self.folder), False
        except UsageError:
            return None, True

    @cached_property
    def _images_per_step(self) -> float | None:
        result = self.result
        if result is None or not result.batches or result.images_seen is None:
            return None
        accumulated = self.settings.get("trainer.accumulate_grad_batches")
        batches = accumulated if isinstance(accumulated, int | float) and accumulated else 1
        return result.images_seen / result.batches * batches


def _known(metrics: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if value is not None}


def _better(name: str, old: float | None, new: float) -> float:
    goal = metric_goal(name)
    if old is None or goal is None:
        return new
    return min(old, new, key=lambda value: cost(value, goal))
