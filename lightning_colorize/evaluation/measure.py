"""A network and its baselines on the same images."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torchmetrics import MetricCollection

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.progress import progress
from lightning_colorize.evaluation.data import EvaluationImages, category_of, find_images
from lightning_colorize.inference import Colorizer
from lightning_colorize.metrics import BASELINES, Baselines, colorization_metrics
from lightning_colorize.tasks import ColorizationTask

MODEL = "model"
"""Name of the network's row."""

Rows = dict[str, dict[str, float]]
"""Metrics by row: the network's, then the baselines'."""


@dataclass
class Evaluation:
    """The metrics of a network and its baselines.

    Attributes:
        rows: Over all images; empty if there was none.
        groups: The same for each category, by name; empty without categories.
        counts: Images of each category.
        images: Images measured.
    """

    rows: Rows
    groups: dict[str, Rows]
    counts: dict[str, int]
    images: int


def evaluate(
    model: Colorizer,
    images: EvaluationImages | Path | str,
    *,
    size: int | None = None,
    batch_size: int = 32,
    by_folder: bool = False,
    show_progress: bool = False,
) -> Evaluation:
    """Measure a model and its baselines; metrics are per image and then averaged.

    Args:
        model: As `load_model` returns it.
        images: A folder of color images (its test split if it has one), or images that
            `find_images` returned.
        size: Height and width of the images in pixels; as trained by default.
        batch_size: Images in a batch.
        by_folder: Also measure each category, the first folder of the images' names.
        show_progress: Show a progress bar.

    Raises:
        UsageError: If there is nothing to read.
    """
    found = images if isinstance(images, EvaluationImages) else find_images(Path(images))
    batches: Iterable[ColorBatch] = found.batches(size or model.size, batch_size, model.task.device)
    if show_progress:
        batches = progress(batches, -(-len(found.images) // batch_size), "evaluating")
    group = category_of if by_folder else None
    return evaluate_batches(model.task, model.baselines, batches, group)


@torch.inference_mode()
def evaluate_batches(
    task: ColorizationTask,
    baselines: Baselines | None,
    batches: Iterable[ColorBatch],
    group: Callable[[str], str] | None = None,
) -> Evaluation:
    """Measure a network and its baselines on batches.

    Args:
        task: In evaluation mode.
        baselines: On the task's device; None to measure the network alone.
        batches: On the task's device.
        group: An image's name to its category; None for no categories.

    Raises:
        RuntimeError: If the baselines were not fitted.
    """
    measured: dict[str | None, dict[str, MetricCollection]] = {}
    counts: Counter[str] = Counter()
    images = 0
    for batch in batches:
        predictions = {MODEL: task(batch.L)}
        if baselines is not None:
            predictions |= {name: baselines.predict(name, batch.L) for name in BASELINES}
        of = [] if group is None else [group(name) for name in batch.names]
        counts.update(of)
        parts: dict[str | None, list[int]] = {None: list(range(len(batch)))}
        for name in dict.fromkeys(of):
            parts[name] = [i for i, g in enumerate(of) if g == name]
        for part, which in parts.items():
            if part not in measured:
                measured[part] = {
                    row: colorization_metrics("", task.own_metrics).to(task.device)
                    for row in predictions
                }
            for row, metrics in measured[part].items():
                metrics.update(batch.L[which], predictions[row][which], batch.ab[which])
        images += len(batch)
    rows = {part: _computed(of_part) for part, of_part in measured.items()}
    return Evaluation(
        rows.get(None, {}),
        {name: rows[name] for name in sorted(counts)},
        {name: counts[name] for name in sorted(counts)},
        images,
    )


def _computed(rows: dict[str, MetricCollection]) -> Rows:
    return {
        row: {metric: float(value) for metric, value in metrics.compute().items()}
        for row, metrics in rows.items()
    }
