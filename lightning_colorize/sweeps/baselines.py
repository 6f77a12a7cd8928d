"""What the best of a sweep is to beat: the baselines, as the winner's run has measured them."""

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import read_result
from lightning_colorize.sweeps.hyperband import cost
from lightning_colorize.sweeps.labels import number
from lightning_colorize.sweeps.leaderboard import Place
from lightning_colorize.sweeps.outcome import number_or_none
from lightning_colorize.sweeps.spec import Metric

EXPLAINED = {
    "grey": "no colour at all",
    "mean": "the training images' mean colour everywhere",
    "lut": "the training images' median colour for each lightness and image row",
}
"""What the baselines do, by name."""


def read_baselines(first: Place, metric: Metric) -> dict[str, float]:
    """Return the metric of each baseline, on the images of the winner's run.

    Args:
        first: The best configuration.
        metric: The sweep's.

    Returns:
        By the baseline's name; empty where its run says nothing of them, or they have no such
        metric, as a loss.
    """
    try:
        result = read_result(first.trials[0].folder) or {}
    except (UsageError, OSError):  # a table of many trials is worth more than one broken file
        return {}
    table = result.get("baselines")
    if not isinstance(table, dict):
        return {}
    measured = {
        name: number_or_none(metrics.get(metric.name))
        for name, metrics in table.items()
        if isinstance(metrics, dict)
    }
    return {name: value for name, value in measured.items() if value is not None}


def not_beaten(first: Place, metric: Metric, baselines: dict[str, float]) -> str | None:
    """Return a line that says so where the best is no better than a baseline.

    Args:
        first: The best configuration.
        metric: The sweep's.
        baselines: As `read_baselines` returns them.
    """
    if not baselines:
        return None
    name = min(baselines, key=lambda name: cost(baselines[name], metric.goal))
    if cost(first.value, metric.goal) < cost(baselines[name], metric.goal):
        return None
    best = "configuration" if len(first.trials) > 1 else "trial"
    return (
        f"the best {best} does not beat {name}: {metric.name} {number(first.value)}, "
        f"{name} {number(baselines[name])}"
    )
