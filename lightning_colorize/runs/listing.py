"""What a list of runs says about each of them, and what differs between their configurations."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import metric_goal
from lightning_colorize.runs.folder import (
    METRICS,
    flatten,
    is_running,
    read_config,
    read_result,
)

RUNNING = "running"
KILLED = "killed"
UNREADABLE = "unreadable"

_MISSING = object()
_PLACES = {"seed", "seed_everything", "name", "root", "path", "folder", "dirpath", "save_dir"}


@dataclass(frozen=True)
class RunSummary:
    """One run in a list.

    Attributes:
        folder: The run folder.
        status: As in result.json; `running` while a process trains it, `killed` where it left no
            result, `unreadable` where that is broken.
        metrics: Finite values by name: the result's; of a run without result the best so far.
        grey: The same metrics of the baseline without colour, where they are known.
        epochs: Epochs trained.
        seconds: Time it took; None while that is not known.
        device_hours: The same, times the devices.
        images_per_second: In steady state.
    """

    folder: Path
    status: str
    metrics: dict[str, float]
    grey: dict[str, float]
    epochs: int | None
    seconds: float | None
    device_hours: float | None = None
    images_per_second: float | None = None

    @property
    def name(self) -> str:
        """The run as `experiment/name`."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    def minus_grey(self, metric: str) -> float | None:
        """Return a metric less what it is without colour; None where one of them is unknown."""
        if metric in self.metrics and metric in self.grey:
            return self.metrics[metric] - self.grey[metric]
        return None


def summarize(folder: Path) -> RunSummary:
    """Read what a run folder says about its run; a file that is broken is a status, no error."""
    try:
        result = read_result(folder)
    except UsageError:
        return RunSummary(folder, UNREADABLE, {}, {}, None, None)
    running = is_running(folder)
    if result is not None and "status" not in result:
        return RunSummary(folder, UNREADABLE, {}, {}, None, None)
    if result is None:
        metrics, epochs = _so_far(folder / METRICS)
        return RunSummary(folder, RUNNING if running else KILLED, metrics, {}, epochs, None)
    return RunSummary(
        folder,
        RUNNING if running else str(result["status"]),
        _known(result.get("metrics")),
        _known((result.get("baselines") or {}).get("grey")),
        result.get("epochs"),
        result.get("seconds"),
        result.get("device_hours"),
        result.get("steady_images_per_second"),
    )


def rank(runs: Sequence[RunSummary], metric: str) -> list[RunSummary]:
    """Return the runs best first; those without the metric last."""
    sign = 1 if metric_goal(metric) == "min" else -1
    have = [run for run in runs if metric in run.metrics]
    have.sort(key=lambda run: sign * run.metrics[metric])
    return have + [run for run in runs if metric not in run.metrics]


def find_metric(runs: Sequence[RunSummary], name: str) -> str:
    """Return the metric that `psnr` or `val/psnr` means for these runs.

    Raises:
        UsageError: If no run has it.
    """
    there = sorted({metric for run in runs for metric in run.metrics})
    for candidate in (name, f"val/{name}", f"test/{name}", f"train/{name}"):
        if candidate in there:
            return candidate
    raise UsageError(f"no run has the metric {name}; there: {', '.join(there) or 'none'}")


def differences(
    runs: Sequence[RunSummary], *, everything: bool = False
) -> dict[str, list[str | None]]:
    """Return the configuration's dotted names that differ between runs, the most varied first.

    Args:
        runs: The runs.
        everything: Also names, paths and seeds.

    Returns:
        For each name its value in every run, None where the run does not have it.
    """
    configs = [_config(run.folder) for run in runs]
    names = dict.fromkeys(name for config in configs for name in config)
    varied: dict[str, list[str | None]] = {}
    for name in names:
        if not everything and (name.startswith("run.") or name.rpartition(".")[2] in _PLACES):
            continue
        values = [config.get(name, _MISSING) for config in configs]
        # A run whose configuration cannot be read differs in nothing that is known.
        known = {repr(v) for v, config in zip(values, configs, strict=True) if config}
        if len(known) > 1:
            varied[name] = [None if value is _MISSING else str(value) for value in values]
    return dict(sorted(varied.items(), key=lambda item: -len(set(item[1]))))


def _config(folder: Path) -> dict[str, Any]:
    try:
        return flatten(read_config(folder))
    except UsageError:
        return {}


def _known(metrics: dict[str, float | None] | None) -> dict[str, float]:
    """Return the metrics without those that are null: no number, in a run that diverged."""
    return {name: value for name, value in (metrics or {}).items() if value is not None}


def _so_far(path: Path) -> tuple[dict[str, float], int | None]:
    metrics: dict[str, float] = {}
    epochs = None
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    # A line without its end is being written, or was when the machine went down.
    for row in csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]), quoting=csv.QUOTE_NONE):
        try:
            read = {name: float(value) for name, value in row.items() if value}
        except (TypeError, ValueError):
            continue  # a damaged row; the others still say how far the run came
        values = {name: value for name, value in read.items() if math.isfinite(value)}
        for name, value in values.items():
            if name == "epoch":
                epochs = int(value)
            elif name != "step":
                metrics[name] = _better(name, metrics.get(name), value)
    return metrics, epochs


def _better(name: str, old: float | None, new: float) -> float:
    goal = metric_goal(name)
    if old is None or goal is None:
        return new
    return max(old, new) if goal == "max" else min(old, new)
