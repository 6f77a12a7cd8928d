"""All systems on the same images: metrics per image, and the images."""

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
from lightning_colorize.evaluation.systems import Network, System
from lightning_colorize.metrics import BASELINES, Baselines, spec
from lightning_colorize.metrics.functional import measure


@dataclass
class Measured:
    """The metrics of each image.

    Attributes:
        systems: Names of the systems.
        baselines: Names of the baselines, whose rows follow those of the systems.
        names: Names of the images.
        values: (rows, columns of `spec.COLUMNS`, images); None without truth.
        failures: (systems, `failures.FAILURES`, images), how strongly each image shows each failure
            mode; None without truth.
        own: The networks' own metrics: over all images, without values of each.
        own_values: (rows, own metrics); empty without truth.
        disagreement: Distance of the systems from their common mean, in LAB units, mean over
            systems and pixels: (images,).
        broken: Errors of the systems' own images.
        undefined: Number of images with colors that are not finite, by system.
    """

    systems: list[str]
    baselines: list[str]
    names: list[str] = field(default_factory=list)
    values: np.ndarray | None = None
    failures: np.ndarray | None = None
    own: list[spec.Metric] = field(default_factory=list)
    own_values: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    disagreement: np.ndarray = field(default_factory=lambda: np.empty(0))
    broken: list[ImageError] = field(default_factory=list)
    undefined: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> list[str]:
        """Names of systems and baselines."""
        return [*self.systems, *self.baselines]


@torch.inference_mode()
def measure_systems(
    systems: Sequence[System],
    batches: Iterable[ColorBatch],
    show: Callable[[str, Tensor | None], None],
    *,
    truth: bool = True,
) -> Measured:
    """Colorize and measure batch by batch; only numbers stay in memory.

    Args:
        systems: On the batches' device.
        batches: The true images, squares of one size.
        show: Called with the name of each image and its values, (systems, columns); None
            without truth.
        truth: Whether the images' own colors are the truth.
    """
    baselines = _baselines(systems)
    extra = [spec.GREY] if baselines is None else list(BASELINES)
    result = Measured([s.name for s in systems], extra if truth else [])
    result.own, own = _own_metrics(systems, len(result.rows))
    values: list[Tensor] = []
    failures: list[Tensor] = []
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
        result.names += batch.names
        of_batch = None
        if truth:
            grey = torch.zeros_like(batch.ab)
            flat = [grey if baselines is None else baselines.predict(n, batch.L) for n in extra]
            rows = [*colored, *(replace(batch, ab=ab) for ab in flat)]
            measured = [measure(batch.L, row.ab, batch.ab, row.L) for row in rows]
            of_batch = torch.stack(measured).cpu()
            values.append(of_batch)
            modes = [measure_failures(batch.L, each.ab, batch.ab) for each in colored]
            failures.append(torch.stack(modes).cpu())
            for row, metrics in zip(rows, own, strict=True):
                for metric in metrics:
                    metric.update(batch.L, row.ab, batch.ab)
        for i, name in enumerate(batch.names):
            show(name, None if of_batch is None else of_batch[: len(systems), :, i])
    if result.names:
        result.disagreement = torch.cat(disagreement).cpu().numpy()
        if truth:
            result.values = torch.cat(values, dim=2).double().numpy()
            result.failures = torch.cat(failures, dim=2).double().numpy()
            result.own_values = np.array([[float(m.compute()) for m in row] for row in own])
    return result


def _own_metrics(
    systems: Sequence[System], rows: int
) -> tuple[list[spec.Metric], list[list[Metric]]]:
    """Return the own metrics of all networks, each name once, and a copy of each for every row."""
    tasks = [system.loaded.task for system in systems if isinstance(system, Network)]
    known = {m.name: m for task in tasks for m in task.metric_rows if m.name in task.own_metrics}
    own = {name: m.to(task.device) for task in tasks for name, m in task.own_metrics.items()}
    return list(known.values()), [[own[name].clone() for name in known] for _ in range(rows)]


def _baselines(systems: Sequence[System]) -> Baselines | None:
    """Return the baselines of the first network that has any."""
    each = (system.loaded.baselines for system in systems if isinstance(system, Network))
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
