"""The logged metrics, as one torchmetrics collection.

All metrics use the same per-image values, which are measured once per update: the metrics form one
compute group, in which only the first one updates. Values are stored instead of sums because a
correlation over images needs them; 50,000 images take 2 MB.
"""

from collections.abc import Mapping

from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from lightning_colorize.metrics import spec
from lightning_colorize.metrics.functional import measure, over_images
from lightning_colorize.metrics.image_pair import ImagePair


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
        metric.name: ColorizationMetric(metric) for metric in spec.METRICS
    }
    groups = [list(metrics), *([name] for name in own or {})]
    copies = {name: metric.clone() for name, metric in (own or {}).items()}
    return MetricCollection({**metrics, **copies}, prefix=prefix, compute_groups=groups)


class ColorizationMetric(Metric):
    """One metric over all images."""

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
