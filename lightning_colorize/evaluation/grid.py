"""A model with many settings of its decoding, on the same images and without another training."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.evaluation.measured import Rows
from lightning_colorize.evaluation.statistics import metrics_over
from lightning_colorize.inference import Colorizer
from lightning_colorize.inference.colorizer import require_size
from lightning_colorize.metrics import BASELINES, spec
from lightning_colorize.metrics.functional import measure

Setting = dict[str, float]
"""Arguments of `Colorizer.set_decoding`, and the `size` that the network sees."""

_KEYS = ("vividness", "temperature", "strength", "size", "flip")


@dataclass
class Grid:
    """The metrics of each setting.

    Attributes:
        settings: In the order of the grid.
        rows: The metrics of each.
        baselines: The metrics of the baselines, by name.
        values: (settings and baselines, columns of `spec.COLUMNS`, images).
    """

    settings: list[Setting]
    rows: list[dict[str, float]]
    baselines: Rows
    values: np.ndarray

    @property
    def images(self) -> int:
        """Number of images measured."""
        return int(self.values.shape[-1])

    def front(self) -> list[int]:
        """Return the settings that no other one beats, the most faithful first.

        One beats another if its CIEDE2000 is lower or its colorfulness closer to the truth's, and
        the other of the two not worse. Settings with colors that are not finite are left out.
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
        """Return the setting of the lowest CIEDE2000 with at least this colorfulness ratio.

        Raises:
            UsageError: If none is so colorful.
        """
        ratios = [row["colorfulness_ratio"] for row in self.rows]
        allowed = [i for i, ratio in enumerate(ratios) if ratio >= least]
        if not allowed:
            most = max(filter(math.isfinite, ratios), default=0.0)
            raise UsageError(
                f"no setting of the grid has a colorfulness ratio of {least:g}; the most is "
                f"{most:.3f}"
            )
        return min(allowed, key=lambda i: self.rows[i]["ciede2000"])


def parse_grid(words: Sequence[str], model: Colorizer) -> list[Setting]:
    """Return all combinations of `KEY=VALUE,VALUE,...`.

    Raises:
        UsageError: If a key is unknown or repeated, or the model refuses a value.
    """
    values: dict[str, list[float]] = {}
    for word in words:
        key, sign, rest = word.partition("=")
        if not sign or key not in _KEYS:
            raise UsageError(f"--grid {word}: give KEY=VALUE,..., with KEY of {', '.join(_KEYS)}")
        if key in values:
            raise UsageError(f"--grid names {key} twice")
        try:
            values[key] = list(dict.fromkeys(_parse(key, part) for part in rest.split(",")))
        except ValueError:  # a UsageError, too
            raise UsageError(f"--grid {word}: {_expected(key)}") from None
    combinations = itertools.product(*values.values())
    settings = [dict(zip(values, each, strict=True)) for each in combinations]
    own = model.decoding
    for setting in settings:
        _apply(model, setting)
    model.set_decoding(**own)
    return settings


@torch.inference_mode()
def evaluate_grid(
    model: Colorizer, batches: Iterable[ColorBatch], settings: Sequence[Setting]
) -> Grid:
    """Measure a model with each setting; settings of one size and flip share a prediction.

    Args:
        model: Its own decoding is used for what a setting does not name.
        batches: True images, on the model's device; another `size` than theirs is resized from
            their L, and the prediction back.
        settings: At least one.
    """
    task, own = model.task, model.decoding
    settings = list(settings)
    names = [spec.GREY] if model.baselines is None else list(BASELINES)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, setting in enumerate(settings):
        groups.setdefault((setting.get("size"), (own | setting)["flip"]), []).append(i)
    values = []
    for batch in batches:
        colored: list[Tensor] = [torch.empty(0)] * len(settings)
        for (size, _), members in groups.items():
            L = _resized(batch.L, size)
            _apply(model, own | settings[members[0]])
            views = task.predict_views(L)
            for i in members:
                _apply(model, own | settings[i])
                ab = task.combine(views, L.shape[-2:])
                colored[i] = measure(batch.L, _resized(ab, batch.L.shape[-1]), batch.ab)
        for name in names:
            flat = torch.zeros_like(batch.ab)
            if model.baselines is not None:
                flat = model.baselines.predict(name, batch.L)
            colored.append(measure(batch.L, flat, batch.ab))
        values.append(torch.stack(colored).cpu())
    model.set_decoding(**own)
    if not values:
        return Grid(settings, [], {}, np.empty((len(settings) + len(names), 0, 0)))
    whole = torch.cat(values, dim=-1).double().numpy()
    rows = [dict(zip(spec.NAMES, map(float, row), strict=True)) for row in metrics_over(whole)]
    baselines = dict(zip(names, rows[len(settings) :], strict=True))
    return Grid(settings, rows[: len(settings)], baselines, whole)


def _apply(model: Colorizer, setting: Mapping[str, Any]) -> None:
    model.set_decoding(**{name: value for name, value in setting.items() if name != "size"})


def _parse(key: str, text: str) -> float:
    if key == "flip":
        return bool(("0", "1").index(text))
    if key == "size":
        require_size(size := int(text))
        return size
    return float(text)


def _expected(key: str) -> str:
    kinds = {"flip": "0 or 1", "size": "whole pixels from 1 to 16384"}
    return f"{key} takes {kinds.get(key, 'numbers')}, separated by commas"


def _resized(maps: Tensor, size: float | None) -> Tensor:
    """Return squares of another size, bilinear, antialiased where it is smaller."""
    if size is None or size == maps.shape[-1]:
        return maps
    side = int(size)
    return F.interpolate(maps, (side, side), mode="bilinear", antialias=side < maps.shape[-1])
