"""Measures systems and their baselines on the same images."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.evaluation.color_ranges import (
    ColorRange,
    count_colors,
    diversity,
    errors_by,
    measure_ranges,
)
from lightning_colorize.evaluation.data import EvaluationImages, find_images
from lightning_colorize.evaluation.failures import FAILURES, measure_failures
from lightning_colorize.evaluation.statistics import intervals, metrics_over
from lightning_colorize.evaluation.systems import (
    Prediction,
    Predictor,
    System,
    predict_with_settings,
    readable,
    square_view,
)
from lightning_colorize.evaluation.table import format_number
from lightning_colorize.inference import Colorizer
from lightning_colorize.metrics import functional, spec
from lightning_colorize.metrics.formulas import COLORLESS
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.metrics.samples import measure_samples
from lightning_colorize.models.base import Model
from lightning_colorize.models.baseline import baseline_models

MODEL = "model"
"""Name of the model's row."""

_BLEEDING = [failure.name for failure in FAILURES].index("bleeding")

Rows = dict[str, dict[str, float]]
"""Metrics by row."""

Intervals = dict[str, dict[str, dict[str, float]]]
"""Metrics by row: each as `value` with `low` and `high`."""


@dataclass
class Results:
    """The metrics of each image: means over its colorings, if a row has several."""

    systems: list[str]
    baselines: list[str]  # The last rows.
    names: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)  # Empty without categories.
    more: Sequence[spec.Metric] = ()  # Additional per-image metrics.
    # (rows, columns of `spec.COLUMNS` and `more`, images); None without truth.
    values: np.ndarray | None = None
    # (systems, `failures.FAILURES`, images); None without truth.
    failures: np.ndarray | None = None
    # (rows, 4, chromas, 1 + hues, images), from `measure_ranges`; None unless requested.
    ranges: np.ndarray | None = None
    # (rows and the truth, 313, images), from `count_colors`; None unless requested.
    colors: np.ndarray | None = None
    # The models' custom metrics, which are over images, without per-image values. They are
    # updated with each coloring.
    custom: list[spec.Metric] = field(default_factory=list)
    # (rows, custom metrics) of each category, with None for all images; empty without truth.
    custom_values: dict[str | None, np.ndarray] = field(default_factory=dict)
    # (images,): distance of the systems' first colorings from their common mean, in LAB units,
    # mean over systems and pixels.
    disagreement: np.ndarray = field(default_factory=lambda: np.empty(0))
    # Errors of images that a system cannot read.
    broken: list[ImageError] = field(default_factory=list)
    # Number of images with colors that are not finite, by system.
    undefined: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rows = [*self.systems, *self.baselines]

    @property
    def grey_truths(self) -> int:
        """The number of images that have no color to measure."""
        column = spec.COLUMNS.index("true_colorfulness")
        return 0 if self.values is None else int((self.values[0, column] < COLORLESS).sum())

    @property
    def columns(self) -> list[spec.Metric]:
        """The metrics of `spec`, more per-image metrics, then the models' custom metrics."""
        return [*spec.METRICS, *self.more, *self.custom]

    def intervals(self) -> Intervals:
        """Return the metrics with intervals, without the custom ones."""
        assert self.values is not None
        names = [*spec.NAMES, *(metric.name for metric in self.more)]
        return dict(zip(self.rows, intervals(self.values, names=names), strict=True))

    def chosen(self, category: str | None) -> np.ndarray:
        """Return a mask of the images of a category, or of all images for None: (images,)."""
        return np.array([category in (None, each) for each in self.categories or self.names])

    def metrics(self, category: str | None = None) -> np.ndarray:
        """Return all metrics over the images of a category, or over all: (rows, columns)."""
        assert self.values is not None
        metrics = metrics_over(self.values[..., self.chosen(category)])
        return np.hstack([metrics, self.custom_values[category]]) if self.custom else metrics

    def table(self, category: str | None = None) -> Rows:
        """Return `metrics` by row and name."""
        names = [metric.name for metric in self.columns]
        values = zip(self.rows, self.metrics(category).tolist(), strict=True)
        return {row: dict(zip(names, each, strict=True)) for row, each in values}


@torch.inference_mode()
def measure(
    result: Results,
    batches: Iterable[ColorBatch],
    predict: Predictor,
    show: Callable[[str, Tensor | None], None] = lambda name, values: None,
    *,
    truth: bool = True,
    failures: bool = True,
    ranges: bool = False,
    group: Callable[[str], str] | None = None,
    models: Sequence[Model] = (),
) -> Results:
    """Colorize and measure batch by batch, into `result`; only numbers stay in memory.

    Args:
        result: The names of systems and baselines, and additional metrics, which the
            predictions contain, or `spec.SAMPLED`.
        batches: Images of one size per batch.
        predict: Colors a batch with all systems, then with the baselines.
        show: Receives the name of each image and its values, (systems, columns), or None.
        truth: Whether the images' own colors are the truth.
        failures: Whether to measure failure modes and the disagreement of the systems.
        ranges: Whether to measure ranges of the true color, and count colors.
        group: Maps an image's name to its category.
        models: Models with custom metrics.

    Raises:
        UsageError: If none of the images can be read.
    """
    count = len(result.systems)
    originals = {name: m.to(model.device) for model in models for name, m in model.metrics.items()}
    result.custom = [spec.Metric.custom(name, m.higher_is_better) for name, m in originals.items()]
    custom: dict[str | None, list[list[Metric]]] = defaultdict(
        lambda: [[metric.clone() for metric in originals.values()] for _ in result.rows]
    )
    arrays: dict[str, list[Tensor]] = defaultdict(list)  # by attribute of `Results`
    for batch in batches:
        categories = [] if group is None else [group(name) for name in batch.names]
        result.names += batch.names
        result.categories += categories
        members: dict[str | None, list[int]] = {None: list(range(len(batch)))}
        for index, name in enumerate(categories):
            members.setdefault(name, []).append(index)
        systems: list[Tensor] = []
        measured: dict[str, list[Tensor]] = defaultdict(list)
        # Row by row: all rows of a grid do not fit into memory.
        for index, row in enumerate(predict(batch)):
            is_system = index < count
            if is_system:
                lost = int((~row.ab.flatten(2).isfinite().all(dim=2).all(dim=0)).sum())
                result.undefined += Counter({result.systems[index]: lost})
                if failures:
                    systems.append(torch.cat([row.L, row.ab[0]], dim=1))
            if not truth:
                continue
            of_row: dict[str, list[Tensor]] = defaultdict(list)
            pairs = [ImagePair(batch.L, ab, batch.ab, row.L) for ab in row.ab]
            for ab, pair in zip(row.ab, pairs, strict=True):
                of_row["values"].append(functional.measure(pair).double())
                if failures and is_system:
                    of_row["failures"].append(measure_failures(batch.L, ab, batch.ab).double())
                if ranges:
                    of_row["ranges"].append(measure_ranges(pair).double())
                    of_row["colors"].append(count_colors(pair.lab_hat[1]))
                for category, chosen in members.items():
                    for metric in custom[category][index]:
                        metric.update(batch.L[chosen], ab[chosen], batch.ab[chosen])
            for name, colorings in of_row.items():
                measured[name].append(torch.stack(colorings).mean(dim=0).cpu())
            if result.more:
                more = measure_samples(pairs) if row.more is None else row.more
                values = [measured["values"].pop(), more.double().cpu()]
                measured["values"].append(torch.cat(values))
        if truth and ranges:
            measured["colors"].append(count_colors(batch.ab).cpu())
        for name, rows in measured.items():
            arrays[name].append(torch.stack(rows))
        if failures:
            arrays["disagreement"].append(_disagreement(systems).cpu())
        for i, name in enumerate(batch.names):
            show(name, arrays["values"][-1][:count, :, i] if truth else None)
    if not result.names:
        raise UsageError("none of the images can be read")
    for name, each in arrays.items():
        setattr(result, name, torch.cat(each, dim=-1).numpy())
    result.custom_values = {
        category: np.array([[float(m.compute()) for m in row] for row in rows])
        for category, rows in custom.items()
    }
    return result


def measure_systems(
    systems: Sequence[System],
    batches: Iterator[ColorBatch],
    size: int,
    show: Callable[[str, Tensor | None], None] = lambda name, values: None,
    truth: bool = True,
    samples: int = 1,
    seed: int = 0,
) -> Results:
    """Measure systems on square images, and with truth the baselines of the first that has any.

    Models that sample have `samples` colorings per image; several add `spec.SAMPLED`.
    """
    fitted = (system.model.baselines for system in systems)
    plain = baseline_models(next(filter(None, fitted), None)) if truth else {}

    def predict(batch: ColorBatch) -> Iterator[Prediction]:
        yield from (system.predict(batch, samples, seed) for system in systems)
        yield from (Prediction(batch.L, model.color(batch.L)) for model in plain.values())

    more = spec.SAMPLED if samples > 1 and truth else ()
    result = Results([system.name for system in systems], list(plain), more=more)
    read = readable(systems, batches, square_view(size), result.broken)
    models = [system.model for system in systems]
    return measure(result, read, predict, show, truth=truth, models=models)


def _disagreement(systems: list[Tensor]) -> Tensor:
    """Return the mean distance of LAB images, (B, 3, H, W), from their common mean: (B,)."""
    lab = torch.stack(systems)
    lab = lab.where(lab.isfinite(), torch.nan)
    apart: Tensor = (lab - lab.nanmean(dim=0)).norm(dim=2).nanmean(dim=(0, 2, 3))
    return apart.nan_to_num()


@dataclass(frozen=True)
class ColorFigures:
    """Color statistics that the metrics do not cover."""

    # Mean of `failures.bleeding` over the images with edges, in LAB units; nan without any.
    bleeding: float
    images_with_edges: int
    color_diversity: float  # Share of the truth's: see `color_ranges.diversity`.

    def __str__(self) -> str:
        edges = f"{self.images_with_edges:,} image{'s' * (self.images_with_edges != 1)} with edges"
        bleeding = format_number("{:.2f}", self.bleeding)
        diverse = format_number("{:.3f}", self.color_diversity)
        return f"bleeding {bleeding} LAB units ({edges}), color diversity {diverse}"


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
    metrics: Sequence[spec.Metric]
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
    title = "evaluating" if show_progress else None
    batches = found.batches(size or model.size, batch_size, model.model.device, title)
    group = found.category_of if by_folder else None
    return evaluate_batches(model.model, batches, group, samples, seed)


def evaluate_batches(
    model: Model,
    batches: Iterable[ColorBatch],
    group: Callable[[str], str] | None = None,
    samples: int = 1,
    seed: int = 0,
) -> Evaluation:
    """Like `evaluate`, on batches on the model's device, with the model's current settings.

    A model without baselines is measured alone. `group` maps an image's name to its category.
    """
    baselines = {} if model.baselines is None else baseline_models(model.baselines)
    predict = predict_with_settings(
        model, [(model.settings, None)], baselines.values(), samples, seed
    )
    results = Results([MODEL], list(baselines), more=spec.SAMPLED if samples > 1 else ())
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
    mean = float(known.mean()) if len(known) else float("nan")
    return ColorFigures(mean, len(known), diversity(results.colors[[0, -1]][..., chosen]))
