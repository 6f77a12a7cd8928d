"""How a model follows hints, references, palettes and labels."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from scipy import stats
from skimage.segmentation import felzenszwalb
from torch import Tensor

from lightning_colorize.color import NO_CONDITION, ColorBatch, Condition, full_precision
from lightning_colorize.color.hints import HintPoints, diffused, hints_from, optimized
from lightning_colorize.color.palette import palettes_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.evaluation.evaluator import Intervals, Results, measure
from lightning_colorize.evaluation.references import find_references, hints_of
from lightning_colorize.evaluation.statistics import as_interval, mean_intervals, ratio_intervals
from lightning_colorize.evaluation.systems import Prediction
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.metrics.spec import COLUMNS as VALUES
from lightning_colorize.metrics.spec import METRICS, Metric
from lightning_colorize.models.base import Model, image_seeds

_OUTSIDE, _SHARE, _INSIDE = "changed_outside", "outside_share", "changed_inside"
CONDITIONED = (
    Metric("hint_error", "min", "{:.2f}", "ciede2000 from the hints, at the hints"),
    Metric("corresponding", None, "{:.3f}", "share of the image that corresponds to the reference"),
    Metric(
        _OUTSIDE, "min", "{:.3f}", "share changed outside the hint's object or what corresponds"
    ),
    Metric(_SHARE, "min", "{:.3f}", "share of what is changed that is outside"),
    Metric(_INSIDE, None, "{:.3f}", "share changed inside"),
    Metric("palette_distance", "min", "{:.2f}", "distance from the given palette, in LAB units"),
    Metric("other_distance", None, "{:.2f}", "distance from another image's palette"),
)
"""Metrics of a model with conditions, per image."""

COLUMNS = (*(metric for metric in METRICS if metric.headline), *CONDITIONED)
"""The columns of the printed table."""

GAIN = "gain"
"""The psnr of followed hints minus the best other row's with the same hints, in dB."""

_SIDE = 2  # pixels of a hint, as in iColoriT (Yun et al. 2023)
_CHANGE = 5.0  # CIEDE2000 from which a pixel counts as changed
_SCALE, _LEAST = 200, 0.02  # of objects; least is a share of the pixels


def reveal(L: Tensor, ab: Tensor, points: int, seed: int = 0) -> Tensor:
    """Return hints of the true colors at uniform positions, as `hints_from` does.

    An image has the same positions in every batch, and more points add to them.
    """
    drawn = [HintPoints.uniform(points, 1, _SIDE, each) for each in image_seeds(L, seed)]
    return torch.cat([hints_from(ab[[i]], each) for i, each in enumerate(drawn)])


def measure_conditions(
    model: Model,
    batches: Callable[[], Iterable[ColorBatch]],
    points: Sequence[int] = (),
    palettes: bool = False,
    labels: Mapping[str, str] | None = None,
    seed: int = 0,
    folder_of: Callable[[str], str] | None = None,
) -> Intervals:
    """Measure a model without conditions, and with those that it accepts; one coloring per image.

    The rows have the metrics of `spec` and `CONDITIONED`; nan where a metric does not apply. An
    image whose object fills it does not count in `changed_outside`. Followed hints also have
    `GAIN`.

    Args:
        model: The model.
        batches: Returns the images on the model's device, the same in every call.
        points: Numbers of hints, 1 is added. Other rows have a network's own answer, and the same
            hints spread by `diffused` and `optimized`.
        palettes: Whether to color with each image's own palette, and with the next image's.
        labels: True label by image name. Each image is also colored with the next label.
        seed: Seed of hints and samples.
        folder_of: Maps an image's name to its folder; with it, images are colored with references.

    Raises:
        UsageError: If no image has a label of the model.
    """
    codes = {name: code for code, name in enumerate(model.label_names)}
    if labels is not None:
        require_labels(model, labels)
    counts = sorted({1, *points} - {0}) if points else []
    every = torch.cat([palettes_of(batch.ab) for batch in batches()]) if palettes else None
    methods = ["", *([", network"] if model.sees_hints else []), ", diffused", ", optimized"]
    rows = ["nothing", *(f"hints {count}{method}" for count in counts for method in methods)]
    references = find_references(batches(), folder_of) if folder_of else {}
    rows += references
    rows += ["own palette", "another palette"] * palettes
    rows += ["right label", "wrong label"] * (labels is not None)
    results = Results(rows, [], more=CONDITIONED)

    def color(batch: ColorBatch, condition: Condition) -> Tensor:
        return model.color(batch.L, condition, generators=model.generators(batch.L, seed))

    def with_hints(batch: ColorBatch, plain: Tensor, count: int) -> Iterator[Prediction]:
        hints = reveal(batch.L, batch.ab, count, seed)
        given = Condition(hints=hints)
        answers = [color(batch, given)]
        if model.sees_hints:
            own = model.views(
                batch.L, model.condition_for(given, model.settings), model.settings.flip
            )
            generators = model.generators(batch.L, seed)
            answers.append(model.combine(own, model.settings, generators=generators))
        spread = (diffused(hints, batch.L)[None, :, :2], optimized(hints, batch.L)[None])
        for ab in (*answers, *spread):
            known = {"hint_error": _mean(_difference(batch, ab[0], hints[:, :2]), hints[:, 2:])}
            if count == 1:
                before = plain if any(ab is each for each in answers) else plain * 0
                known |= _changes(batch, ab, before, find_objects(batch, hints))
            yield _prediction(batch, ab, known)

    def predict(batch: ColorBatch) -> Iterator[Prediction]:
        plain = color(batch, NO_CONDITION)
        first = len(results.names) - len(batch)
        if every is None:
            yield _prediction(batch, plain, {})
        else:
            shifts = first + torch.arange(len(batch)) + torch.arange(3)[:, None]
            own, another, third = every[shifts % len(every)]
            yield _prediction(batch, plain, _palette_distances(plain, another, third))
        for count in counts:
            yield from with_hints(batch, plain, count)
        for each in references.values():
            hints, inside = hints_of(batch, each[first : first + len(batch)])
            ab = color(batch, Condition(hints=hints))
            known = {"corresponding": inside.mean((1, 2, 3))}
            yield _prediction(batch, ab, known | _changes(batch, ab, plain, inside))
        for palette in (own, another) if every is not None else ():
            ab = color(batch, Condition(palettes=palette))
            yield _prediction(batch, ab, _palette_distances(ab, palette, third))
        if labels is not None:
            right = torch.tensor([codes.get(labels[name], -1) for name in batch.names])
            for code in (right, torch.where(right < 0, right, (right + 1) % len(codes))):
                yield _prediction(batch, color(batch, Condition(code.to(batch.L.device))), {})

    measure(results, batches(), predict, failures=False)
    found = results.intervals()
    assert results.values is not None
    names = [metric.name for metric in CONDITIONED]
    for name in (_OUTSIDE, _SHARE, _INSIDE):
        outside = results.values[:, names.index(name) - len(names)]
        # Without the images whose object fills them, or in which nothing changes or corresponds.
        ends = ratio_intervals(np.nan_to_num(outside), np.isfinite(outside)).T
        for row, values in zip(found.values(), ends, strict=True):
            row[name] = as_interval(values)
    psnr = dict(zip(rows, results.values[:, VALUES.index("psnr")], strict=True))
    for count in counts:
        followed, *others = (psnr[f"hints {count}{method}"] for method in methods)
        gains = followed - max(others, key=np.mean)
        found[f"hints {count}"][GAIN] = mean_intervals(gains[None])[0]
    return found


def require_labels(model: Model, labels: Mapping[str, str]) -> None:
    """Raise a UsageError if no image has a label of the model; `labels` are by image name."""
    if not {*model.label_names} & {*labels.values()}:
        known = ", ".join(model.label_names)
        raise UsageError(
            f"no image has a label of {model}: {known}; name the folders of the images after them"
        )


def find_objects(batch: ColorBatch, hints: Tensor) -> Tensor:
    """Return 1 in the object of each image's only hint, 0 elsewhere: (B, 1, H, W).

    The object is the segment of the true image by color and position around the hint's first pixel
    (Felzenszwalb & Huttenlocher, "Efficient Graph-Based Image Segmentation", 2004).
    """
    objects = torch.zeros_like(batch.L)
    lab = torch.cat([batch.L, batch.ab], dim=1).movedim(1, -1).cpu().numpy() / 100
    for one, image, mask in zip(objects, lab, hints[:, 2].flatten(1), strict=True):
        segments = felzenszwalb(image, _SCALE, 0, round(_LEAST * mask.numel()))
        one[0] = torch.from_numpy(segments == segments.flat[int(mask.argmax())])
    return objects


def palette_distance(first: Tensor, second: Tensor) -> float:
    """Return the earth mover's distance in LAB units (Rubner et al. 2000).

    It is the mean distance over which the colors of one palette, (5, 3), move to become the other.
    """
    first, second = first.cpu(), second.cpu()
    colors, shares = (first[:, :2], second[:, :2]), (first[:, 2], second[:, 2])
    return float(stats.wasserstein_distance_nd(*colors, *shares))


def _palette_distances(ab: Tensor, palette: Tensor, third: Tensor) -> dict[str, Tensor]:
    found, others = palettes_of(ab[0]), {"palette_distance": palette, "other_distance": third}
    return {
        name: torch.tensor(list(map(palette_distance, found, other)))
        for name, other in others.items()
    }


def _prediction(batch: ColorBatch, ab: Tensor, known: Mapping[str, Tensor]) -> Prediction:
    nan = torch.full((len(batch),), torch.nan)
    more = torch.stack([known.get(metric.name, nan).cpu() for metric in CONDITIONED])
    return Prediction(batch.L, ab, more)


def _changes(batch: ColorBatch, ab: Tensor, before: Tensor, inside: Tensor) -> dict[str, Tensor]:
    """Return the metrics of what changed; colorings are (1, B, 2, H, W)."""
    changed = (_difference(batch, ab[0], before[0]) > _CHANGE).float()
    return {
        _INSIDE: _mean(changed, inside),
        _OUTSIDE: _mean(changed, 1 - inside),
        _SHARE: _mean(1 - inside, changed),
    }


def _difference(batch: ColorBatch, ab: Tensor, other: Tensor) -> Tensor:
    """Return the CIEDE2000 of each pixel: (B, 1, H, W)."""
    with full_precision(batch.L):
        return ImagePair(batch.L, ab, other).ciede2000


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean over an image's pixels; nan without weight: (B,)."""
    return (values * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))
