"""Runs, read from their folders; their order, and the differences of their configurations."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import GREY, cost, metric_goal
from lightning_colorize.runs.folder import CONFIG, flatten, is_running, read_config
from lightning_colorize.runs.result import RUNNING, RunResult, Validation, read_validations


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
        with suppress(OSError):
            return read_validations(self.folder)
        return []

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


_MISSING = object()
_LOCATIONS = {"seed", "seed_everything", "name", "root", "path", "folder", "dirpath", "save_dir"}


def rank(runs: Sequence[RunRecord], metric: str) -> list[RunRecord]:
    """Return the runs best first; those without the metric last."""
    goal = metric_goal(metric) or "max"
    measured = [run for run in runs if metric in run.metrics]
    measured.sort(key=lambda run: cost(run.metrics[metric], goal))
    return measured + [run for run in runs if metric not in run.metrics]


def find_metric(runs: Sequence[RunRecord], name: str) -> str:
    """Return the full name of a metric, given as `psnr` or `val/psnr`."""
    known = sorted({metric for run in runs for metric in run.metrics})
    for candidate in (name, f"val/{name}", f"test/{name}", f"train/{name}"):
        if candidate in known:
            return candidate
    raise UsageError(f"no run has the metric {name}; available: {', '.join(known) or 'none'}")


def differences(runs: Sequence[RunRecord]) -> dict[str, list[str | None]]:
    """Return the settings that differ between runs, by dotted name, the most varied first.

    Each has its value in every run as YAML, None where the run does not have it. Names, paths and
    seeds do not count.
    """
    configs = [run.settings for run in runs]
    names = dict.fromkeys(name for config in configs for name in config)
    varied: dict[str, list[str | None]] = {}
    for name in names:
        if name.startswith("run.") or name.rpartition(".")[2] in _LOCATIONS:
            continue
        values = [config.get(name, _MISSING) for config in configs]
        # A run whose configuration cannot be read does not count.
        known = {repr(v) for v, config in zip(values, configs, strict=True) if config}
        if len(known) > 1:
            varied[name] = [None if value is _MISSING else _as_yaml(value) for value in values]
    return dict(sorted(varied.items(), key=lambda item: -len(set(item[1]))))


def _as_yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
