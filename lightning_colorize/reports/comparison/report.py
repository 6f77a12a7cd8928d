"""The numbers of a comparison: for the page, for people at a terminal, for programs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_colorize.evaluation.measured import Measured
from lightning_colorize.evaluation.statistics import (
    Difference,
    differences_from_first,
    mean_and_spread,
    metrics_over,
)
from lightning_colorize.evaluation.systems import System
from lightning_colorize.metrics.spec import COLUMNS, NAMES
from lightning_colorize.reports.comparison.history import Group, group_seeds


@dataclass(frozen=True)
class Report:
    """Everything that a page, or a program, is told.

    Attributes:
        measured: Image by image.
        metrics: (rows, metrics); None without truth.
        differences: Each row's from the first, in every metric; empty without truth.
        groups: Systems that differ only in their seed; empty without truth.
        spreads: Mean and standard deviation over a group's runs, in every metric.
    """

    measured: Measured
    metrics: np.ndarray | None
    differences: list[list[Difference]]
    groups: list[Group]
    spreads: list[list[tuple[float, float]]]

    @property
    def rows(self) -> dict[str, dict[str, float | None]]:
        """Metrics by row, None for what is no number; empty without truth."""
        if self.metrics is None:
            return {}
        return {
            name: dict(zip(NAMES, map(_number, row), strict=True))
            for name, row in zip(self.measured.rows, self.metrics.tolist(), strict=True)
        }

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, not rounded, as JSON has them: None for what is none."""
        measured = self.measured
        apart = zip(measured.names, measured.disagreement.tolist(), strict=True)
        numbers: dict[str, Any] = {"disagreement": dict(apart)}
        if measured.values is None:
            return numbers
        rows = measured.rows
        return numbers | {
            "metrics": self.rows,
            "differences": {
                name: {
                    metric: {"value": _number(of.value), "low": of.low, "high": of.high}
                    for metric, of in zip(NAMES, row, strict=True)
                }
                for name, row in zip(rows, self.differences, strict=True)
            },
            "seeds": [
                {
                    "systems": [rows[i] for i in group.members],
                    "seeds": group.seeds,
                    "metrics": {
                        metric: {"mean": _number(mean), "spread": _number(spread)}
                        for metric, (mean, spread) in zip(NAMES, spreads, strict=True)
                    },
                }
                for group, spreads in zip(self.groups, self.spreads, strict=True)
            ],
            "per_image": {
                name: {
                    image: dict(zip(COLUMNS, map(_number, values), strict=True))
                    for image, values in zip(measured.names, table.T.tolist(), strict=True)
                }
                for name, table in zip(rows, measured.values, strict=True)
            },
        }


def build_report(measured: Measured, systems: Sequence[System], seed: int) -> Report:
    """Take means, intervals and spreads.

    Args:
        measured: At least one image.
        systems: Those measured.
        seed: Of the bootstrap.
    """
    if measured.values is None:
        return Report(measured, None, [], [], [])
    groups = group_seeds(systems)
    metrics = metrics_over(measured.values)
    return Report(
        measured,
        metrics,
        differences_from_first(measured.values, seed),
        groups,
        [mean_and_spread(metrics[group.members].tolist()) for group in groups],
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
