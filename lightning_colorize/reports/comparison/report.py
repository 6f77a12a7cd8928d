"""The numbers of a comparison: for the page, the terminal and JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from lightning_colorize.evaluation.failures import FAILURES
from lightning_colorize.evaluation.results import Results
from lightning_colorize.evaluation.statistics import (
    Difference,
    differences_from_first,
    mean_and_spread,
)
from lightning_colorize.evaluation.systems import System
from lightning_colorize.metrics.spec import COLUMNS, CONFIDENCE, Metric
from lightning_colorize.runs.record import RunRecord

_SEEDS = ("seed_everything", "data.seed")
_IDENTITY = ("run.name", "run.root", "run.loggers.")
"""Settings that name a run or its loggers, without effect on training."""


class SeedGroup(NamedTuple):
    """Systems that differ only in their seed, by index, with the seed of each."""

    members: list[int]
    seeds: list[str]


@dataclass(frozen=True)
class Report:
    """All numbers of a comparison."""

    results: Results
    metrics: np.ndarray | None  # (rows, metrics); None without truth.
    # Differences from the first row, by row and metric; empty without truth.
    differences: list[list[Difference]]
    # Mean and standard deviation over the seeds in every metric; empty without truth.
    seeds: list[tuple[SeedGroup, list[tuple[float, float]]]]

    @property
    def columns(self) -> list[Metric]:
        """The metrics of `spec`, then the models' own."""
        return self.results.columns

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """Metrics by row; empty without truth."""
        return {} if self.metrics is None else self.results.table()

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, unrounded, for JSON."""
        results = self.results
        distances = zip(results.names, results.disagreement.tolist(), strict=True)
        numbers: dict[str, Any] = {"disagreement": dict(distances)}
        if results.values is None:
            return numbers
        rows = results.rows
        columns = [metric.name for metric in self.columns]
        modes = [failure.name for failure in FAILURES]
        failures = results.failures if results.failures is not None else ()

        def by_image(keys: Sequence[str], table: np.ndarray) -> dict[str, dict[str, float]]:
            values = (dict(zip(keys, row, strict=True)) for row in table.T.tolist())
            return dict(zip(results.names, values, strict=True))

        return numbers | {
            "metrics": self.rows,
            # The intervals of all systems but the first hold jointly.
            "confidence": {"level": CONFIDENCE, "systems_together": len(results.systems) - 1},
            "differences": {
                name: dict(zip(columns, map(asdict, row), strict=True))
                for name, row in zip(rows, self.differences, strict=True)
            },
            "seeds": [
                {
                    "systems": [rows[i] for i in group.members],
                    "seeds": group.seeds,
                    "metrics": {
                        name: {"mean": mean, "spread": spread}
                        for name, (mean, spread) in zip(columns, spreads, strict=True)
                    },
                }
                for group, spreads in self.seeds
            ],
            "failures": {
                name: by_image(modes, table)
                for name, table in zip(results.systems, failures, strict=False)
            },
            "per_image": {
                name: by_image([*COLUMNS, *(each.name for each in results.more)], table)
                for name, table in zip(rows, results.values, strict=True)
            },
        }


def build_report(results: Results, systems: Sequence[System], seed: int) -> Report:
    """Compute means, intervals and spreads."""
    if results.values is None:
        return Report(results, None, [], [])
    metrics = results.metrics()
    differences = differences_from_first(results.values, seed, len(results.systems))
    for row, values in zip(differences, metrics - metrics[0], strict=True):
        row += [Difference(float(value)) for value in values[len(row) :]]
    seeds = [
        (group, mean_and_spread(metrics[group.members].tolist())) for group in group_seeds(systems)
    ]
    return Report(results, metrics, differences, seeds)


def group_seeds(systems: Sequence[System]) -> list[SeedGroup]:
    """Group the systems that differ only in their seed.

    If several systems have the same seed (the same run or a repetition), only the first counts.
    """
    found: dict[str, dict[str, int]] = {}
    for index, system in enumerate(systems):
        settings = {} if system.run is None else RunRecord(system.run).settings
        if not settings:
            continue
        seeds = (str(settings[key]) for key in _SEEDS if settings.get(key) is not None)
        others = {
            key: value
            for key, value in settings.items()
            if key not in _SEEDS and not key.startswith(_IDENTITY)
        }
        key = json.dumps(others, sort_keys=True, default=str)
        found.setdefault(key, {}).setdefault(", ".join(dict.fromkeys(seeds)), index)
    return [
        SeedGroup(list(members.values()), list(members))
        for members in found.values()
        if len(members) > 1
    ]
