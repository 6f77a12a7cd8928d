"""A model and its baselines on the same images."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.progress import progress
from lightning_colorize.evaluation.color_ranges import ColorRange, diversity, errors_by
from lightning_colorize.evaluation.data import EvaluationImages, find_images
from lightning_colorize.evaluation.failures import FAILURES
from lightning_colorize.evaluation.results import Intervals, Results, Rows, measure
from lightning_colorize.evaluation.systems import predict_with_settings
from lightning_colorize.evaluation.table import format_number
from lightning_colorize.inference import Colorizer
from lightning_colorize.metrics.spec import SAMPLED, Metric
from lightning_colorize.models.base import Model
from lightning_colorize.models.baseline import baseline_models

MODEL = "model"
"""Name of the model's row."""

_BLEEDING = [failure.name for failure in FAILURES].index("bleeding")


@dataclass(frozen=True)
class ColorFigures:
    """Color statistics that the metrics do not cover."""

    # Mean of `failures.bleeding` over the images with edges, in LAB units; nan without any.
    bleeding: float
    images_with_edges: int
    color_diversity: float  # Share of the truth's: see `color_ranges.diversity`.

    def __str__(self) -> str:
        edges = self.images_with_edges
        return (
            f"bleeding {format_number('{:.2f}', self.bleeding)} LAB units ({edges:,} "
            f"image{'s' * (edges != 1)} with edges), color diversity "
            f"{format_number('{:.3f}', self.color_diversity)}"
        )


@dataclass
class Evaluation:
    """The metrics of a network and its baselines.

    Attributes:
        rows: Metrics over all images.
        groups: The same for each category, by name; empty without categories.
        counts: Number of images per category.
        images: Number of measured images.
        grey_truths: Number of these that have no color to measure.
        colors: Color statistics of the network.
        group_colors: The same for each category.
        hue: Errors by the hue of the true color.
        chroma: Errors by the chroma of the true color.
        metrics: Name, goal and format of the metrics, the model's custom metrics last.
        intervals: The metrics with intervals, without the custom ones.
    """

    rows: Rows
    groups: dict[str, Rows]
    counts: dict[str, int]
    images: int
    grey_truths: int
    colors: ColorFigures
    group_colors: dict[str, ColorFigures]
    hue: list[ColorRange]
    chroma: list[ColorRange]
    metrics: Sequence[Metric]
    intervals: Intervals


def evaluate(
    model: Colorizer,
    images: EvaluationImages | Path | str,
    *,
    size: int | None = None,
    batch_size: int = 32,
    by_folder: bool = False,
    show_progress: bool = False,
    samples: int = 1,
    seed: int = 0,
) -> Evaluation:
    """Measure a model and its baselines; metrics are per image and then averaged.

    Args:
        model: A model from `load_model`.
        images: A folder of color images (its test split if it has one), or images that
            `find_images` returned.
        size: Height and width of the images in pixels; by default the training size.
        batch_size: Images per batch.
        by_folder: Also measure each category, the first folder of the images' names.
        show_progress: Show a progress bar.
        samples: Colorings per image of a model that samples; several add `spec.SAMPLED`.
        seed: Seed of the samples.

    Raises:
        UsageError: If the split is empty, or none of its images can be read.
    """
    found = images if isinstance(images, EvaluationImages) else find_images(Path(images))
    size = size or model.size
    batches: Iterable[ColorBatch] = found.batches(size, batch_size, model.model.device)
    if show_progress:
        batches = progress(batches, -(-len(found.images) // batch_size), "evaluating")
    group = found.category_of if by_folder else None
    return evaluate_batches(model.model, batches, group, samples, seed)


def evaluate_batches(
    model: Model,
    batches: Iterable[ColorBatch],
    group: Callable[[str], str] | None = None,
    samples: int = 1,
    seed: int = 0,
) -> Evaluation:
    """Measure a model and its baselines on batches.

    Args:
        model: The model with its current settings; measured alone if it has no baselines.
        batches: Batches on the model's device.
        group: Maps an image's name to its category; None for no categories.
        samples: Same as in `evaluate`.
        seed: Same as in `evaluate`.

    Raises:
        UsageError: If there are no batches.
    """
    baselines = {} if model.baselines is None else baseline_models(model.baselines)
    predict = predict_with_settings(
        model, [(model.settings, None)], baselines.values(), samples, seed
    )
    results = Results([MODEL], list(baselines), more=SAMPLED if samples > 1 else ())
    measure(results, batches, predict, ranges=True, group=group, models=[model])
    assert results.ranges is not None
    counts = dict(sorted(Counter(results.categories).items()))
    counts = {} if [*counts] == ["."] else counts  # without folders: the same as all images
    return Evaluation(
        rows=results.table(),
        groups={name: results.table(name) for name in counts},
        counts=counts,
        images=len(results.names),
        grey_truths=results.grey_truths,
        colors=_color_figures(results),
        group_colors={name: _color_figures(results, name) for name in counts},
        hue=errors_by("hue", results.ranges, results.rows),
        chroma=errors_by("chroma", results.ranges, results.rows),
        metrics=results.columns,
        intervals=results.intervals(),
    )


def _color_figures(results: Results, category: str | None = None) -> ColorFigures:
    assert results.failures is not None
    assert results.colors is not None
    chosen = results.chosen(category)
    bleeding = results.failures[0, _BLEEDING, chosen]
    known = bleeding[np.isfinite(bleeding)]
    return ColorFigures(
        float(known.mean()) if len(known) else float("nan"),
        len(known),
        diversity(results.colors[[0, -1]][..., chosen]),
    )
