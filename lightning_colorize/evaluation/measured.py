"""All systems on the same images: metrics per image."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
from lightning_colorize.evaluation.systems import Predictor, System
from lightning_colorize.metrics import BASELINES, Baselines, spec
from lightning_colorize.metrics.functional import measure_pair
from lightning_colorize.metrics.images import ImagePair

Rows = dict[str, dict[str, float]]
"""Metrics by row."""


@dataclass
class Measured:
    """The metrics of each image.

    Attributes:
        systems: Names of the systems.
        baselines: Names of the baselines, whose rows follow those of the systems.
        names: Names of the images.
        categories: Their categories; empty without any.
        values: (rows, columns of `spec.COLUMNS`, images); None without truth.
        failures: (systems, `failures.FAILURES`, images), how strongly each image shows each failure
            mode; None without truth.
        parts: (rows, 4, chromas, 1 + hues, images), of `measure_parts`; None unless it is needed.
        colors: (rows and the truth, 313, images), of `count_colors`; None unless it is needed.
        own: The networks' own metrics: over images, without values of each.
        own_values: (rows, own metrics) of each category, and of all images as None; empty without
            truth.
        disagreement: Distance of the systems from their common mean, in LAB units, mean over
            systems and pixels: (images,).
        broken: Errors of the systems' own images.
        undefined: Number of images with colors that are not finite, by system.
    """

    systems: list[str]
    baselines: list[str]
    names: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    values: np.ndarray | None = None
    failures: np.ndarray | None = None
    parts: np.ndarray | None = None
    colors: np.ndarray | None = None
    own: list[spec.Metric] = field(default_factory=list)
    own_values: dict[str | None, np.ndarray] = field(default_factory=dict)
    disagreement: np.ndarray = field(default_factory=lambda: np.empty(0))
    broken: list[ImageError] = field(default_factory=list)
    undefined: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> list[str]:
        """Names of systems and baselines."""
        return [*self.systems, *self.baselines]

    @property
    def columns(self) -> list[spec.Metric]:
        """The metrics: those of all networks, then the own ones."""
        return [*spec.METRICS, *self.own]

    def chosen(self, category: str | None) -> np.ndarray:
        """Return which images are of a category, None for all: (images,)."""
        if category is None:
            return np.ones(len(self.names), bool)
        return np.array([each == category for each in self.categories])

    def metrics(self, category: str | None = None) -> np.ndarray:
        """Return all metrics over the images of a category: (rows, columns).

        None is for all images. There must be some, with truth.
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
def measure_systems(
    systems: Sequence[System],
    batches: Iterable[ColorBatch],
    show: Callable[[str, Tensor | None], None] = lambda name, values: None,
    *,
    truth: bool = True,
    parts: bool = False,
    group: Callable[[str], str] | None = None,
) -> Measured:
    """Colorize and measure batch by batch; only numbers stay in memory.

    Args:
        systems: On the batches' device.
        batches: The true images, squares of one size.
        show: Called with the name of each image and its values, (systems, columns), which are
            None without truth.
        truth: Whether the images' own colors are the truth.
        parts: Whether to measure parts of the truth, and colors.
        group: An image's name to its category; None for no categories.

    Raises:
        RuntimeError: If the baselines were not fitted.
    """
    baselines = _baselines(systems)
    extra = [spec.GREY] if baselines is None else list(BASELINES)
    result = Measured([s.name for s in systems], extra if truth else [])
    result.own, originals = _own_metrics(systems)
    own: dict[str | None, list[list[Metric]]] = {}
    values: list[Tensor] = []
    failures: list[Tensor] = []
    sums: list[Tensor] = []
    colors: list[Tensor] = []
    disagreement: list[Tensor] = []
    for whole in batches:
        batch = _readable(systems, whole, result.broken)
        if not len(batch):
            continue
        colored = [system.color(batch) for system in systems]
        disagreement.append(_disagreement(colored))
        for system, each in zip(systems, colored, strict=True):
            lost = int((~each.ab.flatten(1).isfinite().all(dim=1)).sum())
            result.undefined += Counter({system.name: lost})
        categories = [] if group is None else [group(name) for name in batch.names]
        result.names += batch.names
        result.categories += categories
        of_batch = None
        if truth:
            grey = torch.zeros_like(batch.ab)
            flat = [grey if baselines is None else baselines.predict(n, batch.L) for n in extra]
            rows = [*colored, *(replace(batch, ab=ab) for ab in flat)]
            measured = zip(*(_measure(batch, row, parts) for row in rows), strict=True)
            of_batch, *of_parts = (torch.stack(each).cpu() for each in measured)
            values.append(of_batch)
            modes = [measure_failures(batch.L, each.ab, batch.ab) for each in colored]
            failures.append(torch.stack(modes).cpu())
            if parts:
                sums.append(of_parts[0])
                colors.append(torch.cat([of_parts[1], count_colors(batch.ab)[None].cpu()]))
            for category, members in _members(categories, len(batch)).items():
                if category not in own:
                    own[category] = [[m.clone() for m in originals] for _ in rows]
                for row, metrics in zip(rows, own[category], strict=True):
                    for metric in metrics:
                        metric.update(batch.L[members], row.ab[members], batch.ab[members])
        for i, name in enumerate(batch.names):
            show(name, None if of_batch is None else of_batch[: len(systems), :, i])
    if result.names:
        result.disagreement = torch.cat(disagreement).cpu().numpy()
        if truth:
            result.values = torch.cat(values, dim=-1).double().numpy()
            result.failures = torch.cat(failures, dim=-1).double().numpy()
            result.own_values = {
                category: np.array([[float(m.compute()) for m in row] for row in rows])
                for category, rows in own.items()
            }
            if parts:
                result.parts = torch.cat(sums, dim=-1).double().numpy()
                result.colors = torch.cat(colors, dim=-1).numpy()
    return result


def _members(categories: Sequence[str], count: int) -> dict[str | None, list[int]]:
    """Return the images of each category by index; all of a batch as None."""
    members: dict[str | None, list[int]] = {None: list(range(count))}
    for index, category in enumerate(categories):
        members.setdefault(category, []).append(index)
    return members


def _measure(truth: ColorBatch, row: ColorBatch, parts: bool) -> tuple[Tensor, ...]:
    """Return the row's values; with parts also their sums, and how often it has each color."""
    pair = ImagePair(truth.L, row.ab, truth.ab, row.L)
    values = measure_pair(pair)
    return (values, measure_parts(pair), count_colors(pair.lab_hat[1])) if parts else (values,)


def _own_metrics(systems: Sequence[System]) -> tuple[list[spec.Metric], list[Metric]]:
    """Return the own metrics of all networks, each name once."""
    tasks = [system.task for system in systems if isinstance(system, Predictor)]
    known = {m.name: m for task in tasks for m in task.metric_rows if m.name in task.own_metrics}
    own = {name: m.to(task.device) for task in tasks for name, m in task.own_metrics.items()}
    return list(known.values()), [own[name] for name in known]


def _baselines(systems: Sequence[System]) -> Baselines | None:
    """Return the baselines of the first network that has any."""
    each = (system.baselines for system in systems if isinstance(system, Predictor))
    return next(filter(None, each), None)


def _readable(systems: Sequence[System], batch: ColorBatch, broken: list[ImageError]) -> ColorBatch:
    """Return the batch without the images that any system failed to read."""
    side = batch.L.shape[-1]
    found = [error for system in systems for error in system.load(batch.names, side)]
    broken += found
    lost = {str(error.path) for error in found}
    keep = [i for i, name in enumerate(batch.names) if name not in lost]
    return ColorBatch(batch.L[keep], batch.ab[keep], [batch.names[i] for i in keep])


def _disagreement(colored: Sequence[ColorBatch]) -> Tensor:
    lab = torch.stack([torch.cat([each.L, each.ab], dim=1) for each in colored])
    lab = lab.where(lab.isfinite(), torch.nan)
    apart: Tensor = (lab - lab.nanmean(dim=0)).norm(dim=2).nanmean(dim=(0, 2, 3))
    return apart.nan_to_num()
