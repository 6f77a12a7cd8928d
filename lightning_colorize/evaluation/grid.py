"""Evaluation of a model with many settings on the same images, without retraining."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.evaluation.evaluator import Results, Rows, measure
from lightning_colorize.evaluation.systems import predict_with_settings
from lightning_colorize.models.base import Model
from lightning_colorize.models.baseline import baseline_models
from lightning_colorize.models.load import require_size

Setting = dict[str, Any]
"""Settings of the model by name, and the `size` that the network sees."""

SIZE = "size"


@dataclass
class Grid:
    """The metrics of each setting, in the order of the grid, and of the baselines."""

    settings: list[Setting]
    rows: list[dict[str, float]]
    baselines: Rows
    values: np.ndarray  # (settings and baselines, columns of `spec.COLUMNS`, images)

    @property
    def images(self) -> int:
        """Number of images measured."""
        return int(self.values.shape[-1])

    def front(self) -> list[int]:
        """Return the indices of the Pareto-optimal settings, lowest CIEDE2000 first.

        A setting beats another if its CIEDE2000 is lower or its colorfulness closer to the truth's,
        and neither is worse. Settings with colors that are not finite are left out.
        """
        costs = [(row["ciede2000"], abs(1 - row["colorfulness_ratio"])) for row in self.rows]
        front = [
            i
            for i, cost in enumerate(costs)
            if all(map(math.isfinite, cost))
            and not any(o != cost and o[0] <= cost[0] and o[1] <= cost[1] for o in costs)
        ]
        return sorted(front, key=lambda i: costs[i])

    def best(self, least: float) -> int:
        """Return the setting with the lowest CIEDE2000 and at least this colorfulness ratio."""
        ratios = [row["colorfulness_ratio"] for row in self.rows]
        allowed = [i for i, ratio in enumerate(ratios) if ratio >= least]
        if not allowed:
            largest = max(filter(math.isfinite, ratios), default=0.0)
            raise UsageError(
                f"no setting of the grid has a colorfulness ratio of {least:g}; the most is "
                f"{largest:.3f}"
            )
        return min(allowed, key=lambda i: self.rows[i]["ciede2000"])


def parse_grid(words: Sequence[str], model: Model) -> list[Setting]:
    """Return all combinations of `NAME=VALUE,VALUE,...`."""
    axes: dict[str, list[Any]] = {}
    for word in words:
        name, sign, rest = word.partition("=")
        known = [*model.settings.names(), SIZE]
        if not sign or name not in known:
            raise UsageError(f"{word}: give NAME=VALUE,..., with NAME one of {', '.join(known)}")
        if name in axes:
            raise UsageError(f"{name} is given twice")
        axes[name] = list(dict.fromkeys(_parse(model, name, part) for part in rest.split(",")))
    combinations = itertools.product(*axes.values())
    return [dict(zip(axes, each, strict=True)) for each in combinations]


def evaluate_grid(model: Model, batches: Iterable[ColorBatch], settings: Sequence[Setting]) -> Grid:
    """Measure a model with each setting, at least one, on true images on the model's device.

    The model's current settings are the defaults for what a setting does not name.
    """
    pairs = []
    for setting in settings:
        decoding = {name: value for name, value in setting.items() if name != SIZE}
        pairs.append((model.settings.updated(decoding), setting.get(SIZE)))
    plain = baseline_models(model.baselines)
    # Settings that share a prediction follow each other, so that only one prediction is in memory.
    order = sorted(range(len(pairs)), key=lambda i: (pairs[i][1] or 0, pairs[i][0].flip))
    predict = predict_with_settings(model, [pairs[i] for i in order], plain.values())
    result = Results([str(i) for i in order], list(plain))
    measure(result, batches, predict, failures=False)
    assert result.values is not None
    rows = result.table()
    baselines = {name: rows.pop(name) for name in plain}
    values = result.values[np.argsort([*order, *range(len(order), len(result.rows))])]
    return Grid([*settings], [rows[str(i)] for i in range(len(pairs))], baselines, values)


def _parse(model: Model, name: str, text: str) -> Any:
    if name != SIZE:
        return getattr(model.settings.updated({name: text}), name)
    if not text.isdecimal():
        raise UsageError(f"size must be whole pixels, not {text}")
    require_size(int(text))
    return int(text)
