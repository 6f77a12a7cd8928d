"""A network and its baselines on the same images."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from lightning_colorize.color import ColorBatch
from lightning_colorize.metrics import BASELINES, Baselines, colorization_metrics
from lightning_colorize.tasks import ColorizationTask

MODEL = "model"
"""Name of the network's row."""

Rows = dict[str, dict[str, float]]
"""Metrics by row: the network's, then the baselines'."""


@dataclass
class Evaluation:
    """What came out.

    Attributes:
        rows: Over all images.
        groups: The same of each category, by name; empty where there are none.
        counts: Images of each category.
        images: Images measured.
        model_seconds: What the network took for each batch.
    """

    rows: Rows
    groups: dict[str, Rows] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    images: int = 0
    model_seconds: list[float] = field(default_factory=list)


@torch.inference_mode()
def evaluate(
    task: ColorizationTask,
    baselines: Baselines | None,
    batches: Iterable[ColorBatch],
    group: Callable[[str], str] | None = None,
) -> Evaluation:
    """Measure a network and its baselines; all metrics are per image and then averaged.

    Args:
        task: In evaluation mode.
        baselines: On the task's device; None to measure the network alone.
        batches: On the task's device.
        group: An image's name to its category, where categories are to be told apart.

    Returns:
        The result; without rows if there was no batch.
    """
    overall = _Rows(task.device, baselines)
    groups: dict[str, _Rows] = {}
    counts: Counter[str] = Counter()
    result = Evaluation({})
    for batch in batches:
        start = time.perf_counter()
        ab_hat = task(batch.L)
        if task.device.type == "cuda":
            torch.cuda.synchronize()
        result.model_seconds.append(time.perf_counter() - start)
        result.images += len(batch)
        predictions = {MODEL: ab_hat}
        if baselines is not None:
            predictions |= {name: baselines.predict(name, batch.L) for name in BASELINES}
        overall.update(batch, predictions)
        if group is None:
            continue
        of = [group(name) for name in batch.names]
        counts.update(of)
        for name in dict.fromkeys(of):
            if name not in groups:
                groups[name] = _Rows(task.device, baselines)
            groups[name].update(batch, predictions, [i for i, g in enumerate(of) if g == name])
    if result.images:
        result.rows = overall.compute()
    result.groups = {name: groups[name].compute() for name in sorted(groups)}
    result.counts = {name: counts[name] for name in sorted(groups)}
    return result


class _Rows:
    """A metric collection for each row."""

    def __init__(self, device: torch.device, baselines: Baselines | None) -> None:
        names = (MODEL,) if baselines is None else (MODEL, *BASELINES)
        self.metrics: dict[str, MetricCollection] = {
            name: colorization_metrics().to(device) for name in names
        }

    def update(
        self, batch: ColorBatch, predictions: dict[str, Tensor], some: list[int] | None = None
    ) -> None:
        """Measure a batch, or some of its images."""
        which = slice(None) if some is None else some
        for name, metrics in self.metrics.items():
            metrics.update(batch.L[which], predictions[name][which], batch.ab[which])

    def compute(self) -> Rows:
        return {
            name: {metric: float(value) for metric, value in metrics.compute().items()}
            for name, metrics in self.metrics.items()
        }
