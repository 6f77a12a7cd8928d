"""Lists of runs: their order, and the differences between their configurations."""

import math
from collections.abc import Sequence
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import cost, metric_goal
from lightning_colorize.runs.record import RunRecord

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
