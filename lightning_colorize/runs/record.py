"""One run, read from its folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import GREY
from lightning_colorize.runs.folder import CONFIG, flatten, is_running, read_config
from lightning_colorize.runs.result import RUNNING, RunResult
from lightning_colorize.runs.validation_log import Validation, ValidationReader


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
            return "unreadable"
        if is_running(self.folder):
            return RUNNING
        return "killed" if result is None or result.status == RUNNING else result.status

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Finite metrics by name."""
        return _known(self.result.metrics if self.result else {})

    @cached_property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Finite metrics of each baseline."""
        table = self.result.baselines if self.result else {}
        return {name: _known(metrics) for name, metrics in table.items()}

    @cached_property
    def validations(self) -> list[Validation]:
        """The validations so far."""
        reader = ValidationReader(self.folder)
        reader.read()
        return reader.records

    def curve(self, metric: str, over_images: bool = False) -> list[tuple[float, float]]:
        """Return the finite values of a validation metric, over epochs or over images seen.

        Without a result, the number of images is unknown and the curve over images is empty.
        """
        each = self._images_per_step if over_images else None
        if over_images and each is None:
            return []
        return [
            (record.epoch + 1 if each is None else record.step * each, value)
            for record in self.validations
            if (value := record.metrics.get(metric)) is not None
        ]

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
        names = ("model.init_args.accumulate_grad_batches", "trainer.accumulate_grad_batches")
        accumulated = next((v for name in names if (v := self.settings.get(name))), None)
        batches = accumulated if isinstance(accumulated, int | float) and accumulated else 1
        return result.images_seen / result.batches * batches


def _known(metrics: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if value is not None}
