"""A model and its baselines on the same images."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.progress import progress
from lightning_colorize.evaluation.data import EvaluationImages, find_images
from lightning_colorize.evaluation.failures import FAILURES
from lightning_colorize.evaluation.measured import Intervals, Measured, Rows, measure
from lightning_colorize.evaluation.parts import Part, diversity, figures_by
from lightning_colorize.evaluation.systems import paint_settings
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
    color_diversity: float  # Share of the truth's: see `parts.diversity`.


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
    hue: list[Part]
    chroma: list[Part]
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
    plain = {} if model.baselines is None else baseline_models(model.baselines)
    paint = paint_settings(model, [(model.settings, None)], plain.values(), samples, seed)
    measured = Measured([MODEL], list(plain), more=SAMPLED if samples > 1 else ())
    measure(measured, batches, paint, parts=True, group=group, models=[model])
    assert measured.parts is not None
    counts = dict(sorted(Counter(measured.categories).items()))
    counts = {} if [*counts] == ["."] else counts  # without folders: the same as all images
    return Evaluation(
        measured.table(measured.metrics()),
        {name: measured.table(measured.metrics(name)) for name in counts},
        counts,
        len(measured.names),
        measured.grey_truths,
        _color_figures(measured),
        {name: _color_figures(measured, name) for name in counts},
        figures_by("hue", measured.parts, measured.rows),
        figures_by("chroma", measured.parts, measured.rows),
        measured.columns,
        measured.intervals(),
    )


def _color_figures(measured: Measured, category: str | None = None) -> ColorFigures:
    assert measured.failures is not None
    assert measured.colors is not None
    chosen = measured.chosen(category)
    bleeding = measured.failures[0, _BLEEDING, chosen]
    known = bleeding[np.isfinite(bleeding)]
    return ColorFigures(
        float(known.mean()) if len(known) else float("nan"),
        len(known),
        diversity(measured.colors[[0, -1]][..., chosen]),
    )
