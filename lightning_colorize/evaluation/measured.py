"""The measurement loop: per-image metrics of several systems on the same images."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_colorize.color import ColorBatch
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.evaluation.failures import measure_failures
from lightning_colorize.evaluation.parts import count_colors, measure_parts
from lightning_colorize.evaluation.statistics import metrics_over
from lightning_colorize.evaluation.systems import (
    Painted,
    Painter,
    System,
    fitted_baselines,
    paint_systems,
    readable,
    square_view,
)
from lightning_colorize.metrics import spec
from lightning_colorize.metrics.functional import measure_pair
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.models.base import Model

Rows = dict[str, dict[str, float]]
"""Metrics by row."""


@dataclass
class Measured:
    """The metrics of each image.

    Attributes:
        systems: Names of the systems.
        baselines: Names of the baselines, the last rows.
        names: Names of the images.
        categories: Categories of the images; empty without categories.
        samples: (n, rows, columns of `spec.COLUMNS`, images) of n colorings; None without truth.
        failures: (systems, `failures.FAILURES`, images), how strongly each image shows each failure
            mode; None without truth.
        parts: (rows, 4, chromas, 1 + hues, images), from `measure_parts`; None unless requested.
        colors: (rows and the truth, 313, images), from `count_colors`; None unless requested.
        own: The models' custom metrics, which are over images, without per-image values.
        own_values: (rows, custom metrics) of each category, with None for all images; empty without
            truth.
        disagreement: Distance of the systems from their common mean, in LAB units, mean over
            systems and pixels: (images,).
        broken: Errors of images that a system cannot read.
        undefined: Number of images with colors that are not finite, by system.
    """

    systems: list[str]
    baselines: list[str]
    names: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    samples: np.ndarray | None = None
    failures: np.ndarray | None = None
    parts: np.ndarray | None = None
    colors: np.ndarray | None = None
    own: list[spec.Metric] = field(default_factory=list)
    own_values: dict[str | None, np.ndarray] = field(default_factory=dict)
    disagreement: np.ndarray = field(default_factory=lambda: np.empty(0))
    broken: list[ImageError] = field(default_factory=list)
    undefined: Counter[str] = field(default_factory=Counter)

    @property
    def values(self) -> np.ndarray | None:
        """(rows, columns of `spec.COLUMNS`, images), the mean over colorings."""
        return None if self.samples is None else self.samples.mean(0)

    @property
    def rows(self) -> list[str]:
        """Names of systems and baselines."""
        return [*self.systems, *self.baselines]

    @property
    def columns(self) -> list[spec.Metric]:
        """The metrics of `spec`, then the models' custom metrics."""
        return [*spec.METRICS, *self.own]

    def chosen(self, category: str | None) -> np.ndarray:
        """Return a mask of the images of a category, or of all images for None: (images,)."""
        if category is None:
            return np.ones(len(self.names), bool)
        return np.array([each == category for each in self.categories])

    def metrics(self, category: str | None = None) -> np.ndarray:
        """Return all metrics over the images of a category: (rows, columns).

        None stands for all images. There must be at least one, with truth.
        """
        assert self.values is not None
        metrics = metrics_over(self.values[..., self.chosen(category)])
        return np.hstack([metrics, self.own_values[category]]) if self.own else metrics

    def table(self, metrics: np.ndarray) -> Rows:
        """Return metrics by row and name."""
        return {
            row: dict(zip([metric.name for metric in self.columns], values, strict=True))
            for row, values in zip(self.rows, metrics.tolist(), strict=True)
        }


@torch.inference_mode()
def measure(
    result: Measured,
    batches: Iterable[ColorBatch],
    paint: Painter,
    show: Callable[[str, Tensor | None], None] = lambda name, values: None,
    *,
    truth: bool = True,
    failures: bool = True,
    parts: bool = False,
    group: Callable[[str], str] | None = None,
    models: Sequence[Model] = (),
) -> Measured:
    """Colorize and measure batch by batch; only numbers stay in memory.

    `evaluate`, `tune-decoding`, `protocol` and `compare` differ only in their images and painters.

    Args:
        result: Contains the names of systems and baselines; receives the measurements.
        batches: The true images; all images of a batch have the same size.
        paint: Colorizes a batch with all systems, then with the baselines.
        show: Called with the name of each image and its values, (systems, columns), which are
            None without truth.
        truth: Whether the images' own colors are the truth.
        failures: Whether to measure failure modes and the disagreement of the systems.
        parts: Whether to measure errors by hue and chroma, and to count colors.
        group: Maps an image's name to its category; None for no categories.
        models: Models whose custom metrics are also measured.
    """
    result.own, originals = _own_metrics(models)
    count = len(result.systems)
    own: dict[str | None, list[list[Metric]]] = {}
    values: list[Tensor] = []
    modes: list[Tensor] = []
    sums: list[Tensor] = []
    colors: list[Tensor] = []
    disagreement: list[Tensor] = []
    for batch in batches:
        categories = [] if group is None else [group(name) for name in batch.names]
        result.names += batch.names
        result.categories += categories
        members = _members(categories, len(batch))
        firsts: list[ColorBatch] = []
        of_rows: list[Tensor] = []
        # Row by row: all rows of a grid do not fit into memory.
        for index, row in enumerate(paint(batch)):
            first = replace(batch, L=row.L, ab=row.ab[0])
            if failures or parts:
                firsts.append(first)
            if index < count:
                lost = int((~row.ab.flatten(2).isfinite().all(dim=2).all(dim=0)).sum())
                result.undefined += Counter({result.systems[index]: lost})
            if not truth:
                continue
            of_rows.append(_measured(batch, row).cpu())
            for category, chosen in members.items():
                if category not in own:
                    own[category] = [[m.clone() for m in originals] for _ in result.rows]
                for metric in own[category][index]:
                    metric.update(batch.L[chosen], first.ab[chosen], batch.ab[chosen])
        if failures:
            disagreement.append(_disagreement(firsts[:count]))
        of_batch = None
        if truth:
            values.append(torch.stack(of_rows, dim=1))
            of_batch = values[-1].mean(0)
            if failures:
                each_mode = (measure_failures(batch.L, x.ab, batch.ab) for x in firsts[:count])
                modes.append(torch.stack([*each_mode]).cpu())
            if parts:
                pairs = [ImagePair(batch.L, each.ab, batch.ab, each.L) for each in firsts]
                sums.append(torch.stack([measure_parts(pair) for pair in pairs]).cpu())
                counts = [count_colors(ab) for ab in (*(p.lab_hat[1] for p in pairs), batch.ab)]
                colors.append(torch.stack(counts).cpu())
        for i, name in enumerate(batch.names):
            show(name, None if of_batch is None else of_batch[:count, :, i])
    if result.names:
        if failures:
            result.disagreement = torch.cat(disagreement).cpu().numpy()
        if truth:
            result.samples = torch.cat(values, dim=-1).double().numpy()
            if failures:
                result.failures = torch.cat(modes, dim=-1).double().numpy()
            result.own_values = {
                category: np.array([[float(m.compute()) for m in row] for row in rows])
                for category, rows in own.items()
            }
            if parts:
                result.parts = torch.cat(sums, dim=-1).double().numpy()
                result.colors = torch.cat(colors, dim=-1).numpy()
    return result


def measure_systems(
    systems: Sequence[System],
    batches: Iterator[ColorBatch],
    size: int,
    show: Callable[[str, Tensor | None], None] = lambda name, values: None,
    truth: bool = True,
) -> Measured:
    """Measure systems and the baselines of the first model that has any, on square images."""
    view, broken = square_view(size), list[ImageError]()
    plain, paint = paint_systems(systems, fitted_baselines(systems), view)
    result = measure(
        Measured([system.name for system in systems], list(plain)),
        readable(systems, batches, view, broken),
        paint,
        show,
        truth=truth,
        models=[system.model for system in systems],
    )
    result.broken = broken
    return result


def _members(categories: Sequence[str], count: int) -> dict[str | None, list[int]]:
    """Return the image indices of each category, with None for the whole batch."""
    members: dict[str | None, list[int]] = {None: list(range(count))}
    for index, category in enumerate(categories):
        members.setdefault(category, []).append(index)
    return members


def _measured(truth: ColorBatch, row: Painted) -> Tensor:
    """Return the values of a row's colorings: (n, columns, B)."""
    pairs = (ImagePair(truth.L, ab, truth.ab, row.L) for ab in row.ab)
    return torch.stack([measure_pair(pair) for pair in pairs])


def _own_metrics(models: Sequence[Model]) -> tuple[list[spec.Metric], list[Metric]]:
    """Return the custom metrics of all models, each name once."""
    own = {name: m.to(model.device) for model in models for name, m in model.metrics.items()}
    return [spec.Metric.own(name, m.higher_is_better) for name, m in own.items()], [*own.values()]


def _disagreement(colored: Sequence[ColorBatch]) -> Tensor:
    lab = torch.stack([torch.cat([each.L, each.ab], dim=1) for each in colored])
    lab = lab.where(lab.isfinite(), torch.nan)
    apart: Tensor = (lab - lab.nanmean(dim=0)).norm(dim=2).nanmean(dim=(0, 2, 3))
    return apart.nan_to_num()
