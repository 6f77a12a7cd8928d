"""All metrics of `spec`: per image, over images, as one collection, and of a training batch."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from lightning_colorize.color import full_precision
from lightning_colorize.metrics import formulas, spec
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.metrics.spec import COLUMNS, METRICS

# Below this (in LAB units) the distance between mean colors is rounding noise.
_EQUAL = 1e-3


@torch.no_grad()
def measure(images: ImagePair) -> Tensor:
    """Measure each image on the RGB rebuilt from L, in fp32 with autocast off.

    Returns (columns, B), fp32: the per-image values in the order of `spec.COLUMNS`.
    """
    values: dict[str, Tensor] = {}
    with full_precision(images.L):
        for metric in METRICS:
            measured = getattr(formulas, metric.name)(images)
            values |= zip(metric.inputs, measured.view(-1, len(images.L)), strict=True)
    return torch.stack([values[column] for column in COLUMNS])


def per_image(L: Tensor, ab_hat: Tensor, ab: Tensor) -> dict[str, Tensor]:
    """Return all per-image metrics, each (B,); the arguments are the same as for `ImagePair`."""
    values = dict(zip(COLUMNS, measure(ImagePair(L, ab_hat, ab)), strict=True))
    return {metric.name: values[metric.name] for metric in METRICS if metric.per_image}


def over_images(metric: spec.Metric, values: Tensor) -> Tensor:
    """Reduce (columns, ..., images), as `measure` returns them, to a metric over images: (...)."""
    chosen = values[[COLUMNS.index(column) for column in metric.inputs]]
    if metric.per_image:
        return chosen[0].mean(-1)
    reduced: Tensor = getattr(formulas, f"{metric.name}_over_images")(chosen)
    return reduced


@torch.no_grad()
def batch_metrics(L: Tensor, ab_hat: Tensor, ab: Tensor) -> dict[str, Tensor]:
    """Return `colorfulness_ratio`, `ab_corr` and `diversity` of a batch, scalars in fp32.

    The arguments are the same as for `ImagePair`.
    """
    images = ImagePair(L, ab_hat, ab)
    return {
        "colorfulness_ratio": formulas.colorfulness_ratio_over_images(
            formulas.colorfulness_ratio(images)
        ),
        "ab_corr": formulas.ab_corr_over_images(formulas.ab_corr(images)),
        "diversity": diversity_ratio(ab_hat, ab),
    }


@torch.no_grad()
def diversity_ratio(ab_hat: Tensor, ab: Tensor) -> Tensor:
    """Return the spread of predicted mean colors over images, as a share of the true spread.

    The mean distance between the mean (a, b) of two images, over all pairs, divided by the same
    mean for the truth: 0 if all images have the same tint, 1 if they vary as much as the truth.

    Args:
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.

    Returns:
        A scalar, fp32; nan if the truth does not vary, or for a single image.
    """
    spread = _mean_distance(ab)
    return torch.where(spread > _EQUAL, _mean_distance(ab_hat) / spread, torch.nan)


def _mean_distance(ab: Tensor) -> Tensor:
    means = ab.float().mean(dim=(2, 3))
    distances: Tensor = (means[:, None] - means).norm(dim=2)
    # The distance of an image to itself is 0, and each pair occurs twice.
    return distances.sum() / max(len(means) * (len(means) - 1), 1)


def colorization_metrics(
    prefix: str = "", own: Mapping[str, Metric] | None = None
) -> MetricCollection:
    """Return the collection of all metrics, to be updated with (L, ab_hat, ab).

    `update(L, ab_hat, ab)` takes L: (B, 1, H, W) in [0, 100], the lightness of the true colors,
    and ab: (B, 2, H, W) in LAB units, predicted and true, of any floating dtype, with or without
    autocast. `compute()` returns scalars. Use `update`, not `forward`, which would measure once per
    metric.

    Args:
        prefix: Put before the names: "val/" gives "val/psnr".
        own: Additional metrics by name, with the same `update`; they are copied.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        metric.name: ColorizationMetric(metric) for metric in METRICS
    }
    groups = [list(metrics), *([name] for name in own or {})]
    copies = {name: metric.clone() for name, metric in (own or {}).items()}
    return MetricCollection({**metrics, **copies}, prefix=prefix, compute_groups=groups)


class ColorizationMetric(Metric):
    """One metric over all images.

    All metrics use the same per-image values, which are measured once per update: the metrics form
    one compute group, in which only the first one updates. Values are stored instead of sums
    because a correlation over images needs them; 50,000 images take 2 MB.
    """

    full_state_update = False
    is_differentiable = False
    rows: list[Tensor]

    def __init__(self, metric: spec.Metric) -> None:
        super().__init__()
        self.metric = metric
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, L: Tensor, ab_hat: Tensor, ab: Tensor) -> None:
        """Measure the images of a batch; the arguments are the same as for `ImagePair`."""
        self.rows.append(measure(ImagePair(L, ab_hat, ab)).T)

    def compute(self) -> Tensor:
        """Return the metric, a scalar."""
        return over_images(self.metric, dim_zero_cat(self.rows).T)
