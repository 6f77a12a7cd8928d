"""How a model follows hints, palettes and labels."""

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
from lightning_colorize.evaluation.measured import Intervals, Measured, measure
from lightning_colorize.evaluation.statistics import ratio_intervals
from lightning_colorize.evaluation.systems import Painted
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.metrics.spec import METRICS, Metric
from lightning_colorize.models.base import Model, image_seeds

_OUTSIDE = "changed_outside"
ASKED = (
    Metric("hint_error", "min", "{:.2f}", "ciede2000 from the hints, at the hints"),
    Metric(_OUTSIDE, "min", "{:.3f}", "share that one hint changes outside its object"),
    Metric("changed_inside", None, "{:.3f}", "share that one hint changes inside its object"),
    Metric("palette_distance", "min", "{:.2f}", "distance from the asked palette, in LAB units"),
    Metric("other_distance", None, "{:.2f}", "distance from another image's palette"),
)
"""Metrics of a model with conditions, per image."""

COLUMNS = (*(metric for metric in METRICS if metric.headline), *ASKED)
"""The columns of the printed table."""

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
) -> Intervals:
    """Measure a model without conditions, and with those that it accepts; one coloring per image.

    The rows have the metrics of `spec` and `ASKED`; nan for those of other conditions. An image
    whose object fills it does not count in `changed_outside`.

    Args:
        model: The model.
        batches: Returns the images on the model's device, each time the same.
        points: Numbers of hints, which `diffused` and `optimized` spread too; 1 is added.
        palettes: Ask for each image's own palette, and for the next image's.
        labels: Ask for these labels, by the image's name, and for the model's next ones.
        seed: Seed of hints and samples.

    Raises:
        UsageError: If no image has a label of the model.
    """
    codes = {name: code for code, name in enumerate(model.label_names)}
    if labels is not None:
        require_labels(model, labels)
    counts = sorted({1, *points} - {0}) if points else []
    every = torch.cat([palettes_of(batch.ab) for batch in batches()]) if palettes else None
    by = ("", ", diffused", ", optimized")
    rows = ["nothing", *(f"hints {count}{method}" for count in counts for method in by)]
    rows += ["own palette", "another palette"] * palettes
    rows += ["right label", "wrong label"] * (labels is not None)
    measured = Measured(rows, [], more=ASKED)

    def color(batch: ColorBatch, condition: Condition) -> Tensor:
        return model.color(batch.L, condition, generators=model.generators(batch.L, seed))

    def paint(batch: ColorBatch) -> Iterator[Painted]:
        plain = color(batch, NO_CONDITION)
        known, last = {}, len(measured.names)
        if every is not None:
            shifts = torch.arange(last - len(batch), last) + torch.arange(3)[:, None]
            own, another, third = every[shifts % len(every)]
            known = _palette_distances(plain, another, third)
        yield _painted(batch, plain, known)
        for count in counts:
            hints = reveal(batch.L, batch.ab, count, seed)
            spread = (diffused(hints, batch.L)[None, :, :2], optimized(hints, batch.L)[None])
            for ab in (answer := color(batch, Condition(hints=hints)), *spread):
                before = plain if ab is answer else plain * 0
                known = {"hint_error": _mean(_difference(batch, ab[0], hints[:, :2]), hints[:, 2:])}
                if count == 1:
                    changed = (_difference(batch, ab[0], before[0]) > _CHANGE).float()
                    inside = find_objects(batch, hints)
                    known["changed_inside"] = _mean(changed, inside)
                    known[_OUTSIDE] = _mean(changed, 1 - inside)
                yield _painted(batch, ab, known)
        for asked in (own, another) if every is not None else ():
            ab = color(batch, Condition(palettes=asked))
            yield _painted(batch, ab, _palette_distances(ab, asked, third))
        if labels is not None:
            right = torch.tensor([codes.get(labels[name], -1) for name in batch.names])
            for code in (right, torch.where(right < 0, right, (right + 1) % len(codes))):
                yield _painted(batch, color(batch, Condition(code.to(batch.L.device))), {})

    measure(measured, batches(), paint, failures=False)
    found = measured.intervals()
    assert measured.values is not None
    outside = measured.values[:, [metric.name for metric in ASKED].index(_OUTSIDE) - len(ASKED)]
    ends = ratio_intervals(np.nan_to_num(outside), np.isfinite(outside)).T.tolist()
    for row, values in zip(found.values(), ends, strict=True):
        row[_OUTSIDE] = dict(zip(("value", "low", "high"), values, strict=True))
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


def _palette_distances(ab: Tensor, asked: Tensor, third: Tensor) -> dict[str, Tensor]:
    own, others = palettes_of(ab[0]), {"palette_distance": asked, "other_distance": third}
    return {
        name: torch.tensor(list(map(palette_distance, own, other)))
        for name, other in others.items()
    }


def _painted(batch: ColorBatch, ab: Tensor, known: Mapping[str, Tensor]) -> Painted:
    none = torch.full((len(batch),), torch.nan)
    return Painted(batch.L, ab, torch.stack([known.get(m.name, none).cpu() for m in ASKED]))


def _difference(batch: ColorBatch, ab: Tensor, other: Tensor) -> Tensor:
    """Return the CIEDE2000 of each pixel: (B, 1, H, W)."""
    with full_precision(batch.L):
        return ImagePair(batch.L, ab, other).ciede2000


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean over an image's pixels; nan without weight: (B,)."""
    return (values * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))
