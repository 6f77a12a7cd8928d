"""Metrics of pretrained networks: their table and their measurement.

To add a metric, add a row to `METRICS`: a network from `networks`, where its weights are published,
and how its features are reduced to values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import AlexNet_Weights, Inception_V3_Weights, VGG16_Weights

from lightning_colorize.color import full_precision
from lightning_colorize.common.arguments import expanded_path, install
from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.evaluation.pretrained import distances, networks
from lightning_colorize.evaluation.pretrained.result import PretrainedResult, PretrainedValue
from lightning_colorize.evaluation.statistics import mean_intervals
from lightning_colorize.metrics.spec import Goal
from lightning_colorize.networks.encoders.timm_backbone import require_model
from lightning_colorize.networks.encoders.weights import State, read_weights

TIMM = "frechet:"
"""Prefix of the names of timm models."""

_DECIMALS = 9  # more is rounding noise, and the truth's distance from itself is 0

Values = list[PretrainedValue]
"""By row."""


class Reduction(NamedTuple):
    """How features become values."""

    # Maps (rows, N, D) and the index of the truth to values by row.
    values: Callable[[Tensor, int], Values]
    method: str
    # The same without intervals and extrapolations, (rows,), for each validation of a run.
    plain: Callable[[Tensor, int], np.ndarray]


def _frechet(features: Tensor, true: int) -> Values:
    return _both(
        distances.frechet_distances(features, true),
        distances.infinite_frechet_distances(features, true),
    )


def _kernel(features: Tensor, true: int) -> Values:
    return _both(
        distances.kernel_distances(features, true),
        distances.paired_kernel_distances(features, true),
    )


def _both(values: np.ndarray, infinite: np.ndarray) -> Values:
    # Adding 0.0 makes -0.0 positive.
    rounded = zip(values.round(_DECIMALS) + 0.0, infinite.round(_DECIMALS) + 0.0, strict=True)
    return [
        PretrainedValue(value=value, infinite=None if np.isnan(other) else other)
        for value, other in rounded
    ]


def _mean(values: Tensor, true: int) -> Values:
    rounded = values[..., 0].double().numpy().round(_DECIMALS)
    return [PretrainedValue(**each) for each in mean_intervals(rounded)]


def _cosine(features: Tensor, true: int) -> Values:
    return _mean(_cosines(features, true), true)


def _cosines(features: Tensor, true: int) -> Tensor:
    return 100 * F.cosine_similarity(features, features[true], dim=-1)[..., None]


def _plain_cosine(features: Tensor, true: int) -> np.ndarray:
    return _plain_mean(_cosines(features, true), true)


def _plain_mean(values: Tensor, true: int) -> np.ndarray:
    return np.asarray(values[..., 0].double().mean(1))


_FRECHET = Reduction(
    _frechet,
    "infinite: a line over 1/N, "
    f"{distances.SIZES} sizes of subsets from N/2 to N, {distances.DRAWS} of each, seed 0",
    distances.frechet_distances,
)
_KERNEL = Reduction(
    _kernel,
    f"{distances.SUBSETS} subsets of {distances.SUBSET_SIZE:,} images with seed 0, or one of all; "
    "infinite: U-statistic, unbiased for pairs of images",
    distances.kernel_distances,
)
_INTERVALS = "mean over images with its 95 % interval, 2,000 bootstrap samples"
_MEAN = Reduction(_mean, _INTERVALS, _plain_mean)
_COSINE = Reduction(_cosine, _INTERVALS, _plain_cosine)


@dataclass(frozen=True)
class PretrainedMetric:
    """A row of the table."""

    name: str
    title: str  # Metric, network, input.
    network: Callable[[State], nn.Module]  # Metrics of the same network share its features.
    packages: tuple[str, ...]  # The distributions on which its values depend.
    reduction: Reduction = _FRECHET
    # Finds or downloads the published weights; None if there are none.
    published: Callable[[], Path] | None = None
    # Prefixes of the SHA-256 of the published weights; "" if unknown.
    hashes: tuple[str, ...] = ("",)
    goal: Goal = "min"


_FIDELITY_INPUT = "Inception v3 of TensorFlow (torch-fidelity), 2,048 features of 299x299 pixels"
_fidelity = partial(
    PretrainedMetric,
    network=networks.FidelityInception,
    packages=("torch-fidelity", "torchmetrics"),
    published=partial(
        networks.from_url,
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
    ),
    hashes=("6726825d",),
)
_lpips = partial(PretrainedMetric, packages=("torchmetrics", "torchvision"), reduction=_MEAN)

METRICS = (
    _fidelity("fid", f"Frechet Inception distance (FID), {_FIDELITY_INPUT}"),
    _fidelity("kid", f"kernel Inception distance (KID), {_FIDELITY_INPUT}", reduction=_KERNEL),
    PretrainedMetric(
        "fid_torchvision",
        "Frechet distance, Inception v3 of torchvision, 2,048 features of 299x299 pixels scaled as "
        "by DDColor's code",
        networks.TorchvisionInception,
        packages=("torchvision",),
        published=partial(networks.from_url, Inception_V3_Weights.IMAGENET1K_V1.url),
        hashes=("0cc3c7bd", "1a9a5a14"),  # the same weights, stored again in 2021
    ),
    _lpips(
        "lpips_alex",
        "LPIPS 0.1, AlexNet of torchvision, images at their size",
        partial(networks.Lpips, "alex"),
        published=partial(networks.from_url, AlexNet_Weights.IMAGENET1K_V1.url),
        hashes=("7be5be79",),
    ),
    _lpips(
        "lpips_vgg",
        "LPIPS 0.1, VGG16 of torchvision, images at their size",
        partial(networks.Lpips, "vgg"),
        published=partial(networks.from_url, VGG16_Weights.IMAGENET1K_V1.url),
        hashes=("397923af",),
    ),
    PretrainedMetric(
        "clip_score",
        "CLIP score of image and true image, 100 times the cosine of the embeddings, ViT-B/16 of "
        "OpenAI in timm, images resized to 224x224 pixels",
        partial(networks.TimmFeatures, "vit_base_patch16_clip_quickgelu_224.openai", head=True),
        packages=("timm",),
        reduction=_COSINE,
        published=partial(
            networks.from_hub, "timm/vit_base_patch16_clip_224.openai", "model.safetensors"
        ),
        goal="max",
    ),
)
"""The metrics by name; `frechet:MODEL` is the Frechet distance of a timm model."""


@dataclass
class _Features:
    """A network and its outputs for each image, (rows, D) each."""

    network: nn.Module | None
    sha256: str | None = None
    reason: str | None = None
    images: list[Tensor] = field(default_factory=list)


class PretrainedMetrics:
    """Measures images with several metrics; one that fails does not stop the others.

    Features are kept, images are not: 5,000 images of six rows take 245 MB per Inception network.
    `asked` is from `find_metrics`. A file that does not fit raises UsageError. Weights that cannot
    be downloaded raise nothing: the metric is then not available.
    """

    def __init__(
        self, asked: Sequence[tuple[PretrainedMetric, Path | None]], device: torch.device
    ) -> None:
        self.device = device
        self.metrics: list[tuple[PretrainedMetric, _Features]] = []
        opened: dict[Any, _Features] = {}
        for metric, file in asked:
            key = (metric.network, file)
            if key not in opened:
                opened[key] = _open(metric, file, device)
            self.metrics.append((metric, opened[key]))
        self.features = list(opened.values())

    def update(self, rgb: Tensor, true: Tensor) -> None:
        """Measure one image, (rows, 3, H, W) in uint8, and its truth, (3, H, W) in uint8."""
        rgb, true = rgb.to(self.device), true.to(self.device)
        for features in self.features:
            if features.network is None:
                continue
            try:
                with full_precision(rgb):
                    features.images.append(features.network(rgb, true).float().cpu())
            except RuntimeError as error:  # an image too small, no memory
                height, width = true.shape[-2:]
                features.reason = f"an image of {width}x{height} pixels: {first_line(error)}"
                features.network = None

    def compute(self, rows: Sequence[str], true: int) -> list[PretrainedResult]:
        """Return the results of the named rows; `true` is the index of the truth."""
        return [_result(metric, features, rows, true) for metric, features in self.metrics]


def find_metrics(words: Sequence[str]) -> list[tuple[PretrainedMetric, Path | None]]:
    """Parse `NAME` and `NAME=WEIGHTS` into metrics and weights files."""
    if repeated := [word for word in words if words.count(word) > 1]:
        raise UsageError(f"--metric {repeated[0]} is given twice")
    return [_find(word) for word in words]


def find_row(name: str) -> PretrainedMetric:
    """Return the metric of a name.

    Raises:
        ValueError: If there is none; the message has no option.
    """
    known = {metric.name: metric for metric in METRICS}
    if name in known:
        return known[name]
    if not name.startswith(TIMM):
        raise ValueError(
            f"unknown metric {name}; choose from {', '.join(known)} or {TIMM}TIMM_MODEL=WEIGHTS"
        )
    model = name.removeprefix(TIMM)
    require_model(model)
    return PretrainedMetric(
        name,
        f"Frechet distance of the pooled features of timm's {model}, images resized to its "
        "size; not FID",
        partial(networks.TimmFeatures, model),
        packages=("timm",),
    )


def _find(word: str) -> tuple[PretrainedMetric, Path | None]:
    name, sign, given = word.partition("=")
    file = expanded_path(given) if sign else None
    try:
        metric = find_row(name)
    except ValueError as error:
        raise UsageError(f"--metric {word}: {error}") from None
    if file is None and metric.published is None:
        raise UsageError(f"--metric {word}: add =WEIGHTS, a file with timm's state dict")
    if file is not None and not file.is_file():
        raise UsageError(f"--metric {word}: {given} does not exist")
    return metric, file


def _open(metric: PretrainedMetric, file: Path | None, device: torch.device) -> _Features:
    """Return the network with its weights, or the reason why they are not available."""
    path = file
    try:
        if path is None:
            assert metric.published is not None
            path = metric.published()
        network = metric.network(read_weights(path))
        return _Features(network.eval().requires_grad_(False).to(device), sha256_of(path))
    except ImportError as error:
        raise UsageError(
            f"--metric {metric.name} needs {error.name}: {install('metrics')}"
        ) from None
    except Exception as error:  # each library raises its own errors for a failed download
        # Join the lines: the first line of load_state_dict's error does not say what is missing.
        whole = " ".join(str(error).split())[:200] or type(error).__name__
        reason = (error.strerror if isinstance(error, OSError) else None) or whole
        if file is not None:
            raise UsageError(f"--metric {metric.name}={file}: {reason}") from None
        if path is not None:  # results contain no local paths
            reason = reason.replace(str(path), path.name)
        return _Features(None, reason=f"the published weights are not available: {reason}")


def _result(
    metric: PretrainedMetric, features: _Features, rows: Sequence[str], true: int
) -> PretrainedResult:
    reason = features.reason
    values: Values = []
    if features.network is not None:
        stacked = torch.stack(features.images, dim=1)
        if stacked.isfinite().all():
            values = metric.reduction.values(stacked, true)
        else:
            reason = "the network returns values that are not finite"
    other = features.sha256 is not None and not features.sha256.startswith(metric.hashes)
    return PretrainedResult(
        name=metric.name,
        title=metric.title + "; the weights are not the published ones" * other,
        goal=metric.goal,
        method=metric.reduction.method,
        sha256=features.sha256,
        images=len(features.images) if values else None,
        rows=dict(zip(rows, values, strict=False)),
        reason=reason,
    )
