"""FID, KID, MiFID, LPIPS, CLIP score and Frechet distances, measured by torchmetrics.

To add a metric, add a row to `METRICS`: a network, and how its features are reduced to values.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field, FiniteFloat
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.functional import cosine_similarity
from torchmetrics.image.fid import FrechetInceptionDistance as FID
from torchmetrics.image.kid import KernelInceptionDistance as KID
from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance as MiFID
from torchmetrics.utilities import dim_zero_cat, rank_zero_warn

from lightning_colorize.color import full_precision, to_rgb, to_rgb_in_gamut
from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.common.described import Sha256
from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.evaluation.pretrained_networks import find_network, load_network
from lightning_colorize.evaluation.statistics import mean_intervals
from lightning_colorize.metrics.spec import Goal
from lightning_colorize.networks.base import NeedsWeights
from lightning_colorize.networks.encoders.timm_backbone import require_model

TIMM = "frechet:"
"""Prefix of the names of timm models."""

_SUBSETS, _SUBSET_SIZE = 100, 1000  # of KID; up to 1,000 images are one subset


class Value(BaseModel):
    """A metric over images."""

    value: FiniteFloat
    low: FiniteFloat | None = None  # Bounds of the 95 % interval; None for a distance between sets.
    high: FiniteFloat | None = None


class PretrainedResult(BaseModel):
    """A metric of a pretrained network, as part of a protocol result."""

    name: Annotated[str, Field(max_length=200)]  # Name on the command line, without the weights.
    title: Annotated[str, Field(max_length=1000)]  # Metric, network, input.
    goal: Goal
    sha256: Sha256 | None = None  # SHA-256 of the weights file.
    images: Annotated[int, Field(ge=1)] | None = None
    rows: dict[str, Value] = {}

    @property
    def network(self) -> tuple[str, str, str | None]:
        """Key that must be equal for values to be comparable."""
        return self.name, self.title, self.sha256

    @property
    def label(self) -> str:
        """The name with the hash of the weights, so that two networks never share a column."""
        return self.name if self.sha256 is None else f"{self.name} {self.sha256[:8]}"


def frechet_distance(features: Tensor, true: Tensor, metric: Callable[..., Any] = FID) -> Tensor:
    """Return torchmetrics' FID, or MiFID, of features; 0 for equal ones.

    Both sets are rotated into the space that they span: the distance stays the same, and few images
    need no eigenvalues of a DxD matrix.
    """
    if torch.equal(features, true):  # the eigenvalues would leave rounding noise
        return features.new_zeros(())
    both = torch.cat([features, true]).double()
    if len(both) < both.shape[1]:
        both = torch.linalg.qr(both.T, mode="r").R.T
    options: dict[str, Any] = {"input_img_size": both.shape[1:]} if metric is FID else {}
    return _between_sets(metric, *both.chunk(2), **options)


def kernel_distance(features: Tensor, true: Tensor) -> Tensor:
    """Return torchmetrics' KID of features; the subsets are the same in every call."""
    size = min(len(features), _SUBSET_SIZE)
    subsets = 1 if size == len(features) else _SUBSETS
    return _between_sets(KID, features.double(), true.double(), subsets=subsets, subset_size=size)


def _between_sets(
    metric: Callable[..., Any], features: Tensor, true: Tensor, **options: Any
) -> Tensor:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # they draw globally
        warnings.simplefilter("ignore", UserWarning)  # of features in memory
        torch.manual_seed(0)
        measured = metric(nn.Identity(), **options)
        measured.update(true, real=True)
        measured.update(features, real=False)
        value = measured.compute()
    distance: Tensor = value[0] if metric is KID else value
    return distance


def _cosine(features: Tensor, true: Tensor) -> Tensor:
    return 100 * cosine_similarity(features, true, reduction="none")


def _first(features: Tensor, true: Tensor) -> Tensor:
    return features[:, 0]


@dataclass(frozen=True)
class PretrainedMetric:
    """A row of the table."""

    name: str
    title: str  # Metric, network, input.
    network: str  # In `NETWORKS`, or a timm model; metrics of the same one share its features.
    # Maps features of images and of the true images, (N, D) each, to a scalar, or one value each.
    distance: Callable[[Tensor, Tensor], Tensor] = frechet_distance
    goal: Goal = "min"

    def values(self, features: Tensor, true: int) -> list[Value]:
        """Return the value of each row of features, (rows, N, D); `true` is the truth's row."""
        found = [self.distance(row, features[true]) for row in features]
        if found[0].ndim:
            by_image = torch.stack(found).double().numpy()
            return [Value(**each) for each in mean_intervals(by_image)]
        return [Value(value=float(value)) for value in found]


_INPUT = "Inception v3 of TensorFlow (torch-fidelity), 2,048 features of 299x299 pixels"

METRICS = (
    PretrainedMetric("fid", f"Frechet Inception distance (FID), {_INPUT}", "inception"),
    PretrainedMetric(
        "kid",
        f"kernel Inception distance (KID), {_INPUT}, {_SUBSETS} subsets of {_SUBSET_SIZE:,} images",
        "inception",
        kernel_distance,
    ),
    PretrainedMetric(
        "mifid",
        f"FID divided by the distance from the nearest true image (MiFID), {_INPUT}",
        "inception",
        partial(frechet_distance, metric=MiFID),
    ),
    PretrainedMetric(
        "fid_torchvision",
        "Frechet distance, Inception v3 of torchvision, 2,048 features of 299x299 pixels scaled as "
        "by DDColor's code",
        "inception_torchvision",
    ),
    PretrainedMetric(
        "lpips_alex", "LPIPS 0.1, AlexNet of torchvision, images at their size", "alex", _first
    ),
    PretrainedMetric(
        "lpips_vgg", "LPIPS 0.1, VGG16 of torchvision, images at their size", "vgg", _first
    ),
    PretrainedMetric(
        "clip_score",
        "CLIP score of image and true image, 100 times the cosine of the embeddings, ViT-B/16 of "
        "OpenAI in timm, images resized to 224x224 pixels",
        "clip",
        _cosine,
        "max",
    ),
)
"""The metrics by name; `frechet:MODEL` is the Frechet distance of a timm model."""


def find_metric(name: str) -> PretrainedMetric:
    """Return the metric of a name; ValueError if there is none."""
    known = {metric.name: metric for metric in METRICS}
    if name in known:
        return known[name]
    if not name.startswith(TIMM):
        raise ValueError(f"unknown metric; choose from {', '.join(known)} or {TIMM}TIMM_MODEL")
    model = name.removeprefix(TIMM)
    require_model(model)
    title = f"Frechet distance of the pooled features of timm's {model}, images resized to its size"
    return PretrainedMetric(name, f"{title}; not FID", model)


def _extract(name: str, network: nn.Module, rgb: Tensor, true: Tensor) -> Tensor:
    try:
        with full_precision(rgb):
            features: Tensor = network(rgb, true).float()
    except RuntimeError as error:  # an image too small, no memory
        height, width = true.shape[-2:]
        raise UsageError(f"{name} of {width}x{height} pixels: {first_line(error)}") from error
    return features


class PretrainedMetrics:
    """Measures images with several metrics, each given as `NAME` or `NAME=WEIGHTS`.

    Features are kept, images are not: 5,000 images of six rows take 245 MB per Inception network.

    Raises:
        UsageError: If there is no such metric, or its weights are not available or do not fit.
    """

    def __init__(self, words: Sequence[str], device: torch.device) -> None:
        self.device = device
        self.metrics: list[tuple[PretrainedMetric, nn.Module, str]] = []
        for word in words:
            name, sign, given = word.partition("=")
            file = expanded_path(given) if sign else None
            try:
                metric = find_metric(name)
                self.metrics.append((metric, *load_network(metric.network, file, str(device))))
            except ValueError as error:
                raise UsageError(f"--metric {word}: {error}") from None
        self.features: dict[nn.Module, list[Tensor]] = {each: [] for _, each, _ in self.metrics}

    @property
    def packages(self) -> list[str]:
        """The distributions on which the values depend."""
        networks = {find_network(metric.network).package for metric, _, _ in self.metrics}
        return sorted(networks | {"torchmetrics"}) if networks else []

    def update(self, rgb: Tensor, true: Tensor) -> None:
        """Measure one image, (rows, 3, H, W) in uint8, and its truth, (3, H, W) in uint8."""
        rgb, true = rgb.to(self.device), true.to(self.device)
        for network, images in self.features.items():
            images.append(_extract("--metric", network, rgb, true).cpu())

    def compute(self, rows: Sequence[str], true: int) -> list[PretrainedResult]:
        """Return the results of the named rows; `true` is the index of the truth."""
        features = {network: torch.stack(each, 1) for network, each in self.features.items()}
        return [
            PretrainedResult(
                name=metric.name,
                title=metric.title,
                goal=metric.goal,
                sha256=sha256,
                images=features[network].shape[1],
                rows=dict(zip(rows, metric.values(features[network], true), strict=True)),
            )
            for metric, network, sha256 in self.metrics
        ]


class NetworkMetric(Metric, NeedsWeights):
    """FID, LPIPS or another metric of `protocol --metric`, measured at each validation.

    The values equal the protocol's metric on the same 8-bit images. A checkpoint contains
    neither the network nor its features.

    Args:
        name: A metric of `protocol --metric`: `fid`, `kid`, `lpips_alex`, `frechet:MODEL`.
        weights: A file with the weights of its network. A run reads it when it starts.

    Raises:
        UsageError: If there is no such metric, or the file does not fit.
    """

    full_state_update = False
    is_differentiable = False
    features: list[Tensor]

    def __init__(self, name: str, weights: str) -> None:
        super().__init__()
        self.name, self.weights = name, weights
        try:
            self._metric = find_metric(name)
        except ValueError as error:
            raise UsageError(f"--model.metrics {name}={weights}: {error}") from None
        self.add_state("features", default=[], dist_reduce_fx="cat")

    def require_weights(self) -> None:
        """Read the file, which a checkpoint does not need."""
        try:
            load_network(self._metric.network, expanded_path(self.weights), "cpu")
        except ValueError as error:
            raise UsageError(f"--model.metrics {self.name}={self.weights}: {error}") from None

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Whether a larger value is better."""
        return self._metric.goal == "max"

    def update(self, L: Tensor, ab_hat: Tensor, ab: Tensor) -> None:
        """Add the features of a batch; the arguments are the same as for `ImagePair`."""
        with full_precision(L):
            pair = to_rgb_in_gamut(L.float(), ab_hat.float()), to_rgb(L.float(), ab.float())
            rgb, true = ((each * 255).round().byte() for each in pair)
        file = expanded_path(self.weights)
        if file.is_file():
            network, _ = load_network(self._metric.network, file, str(L.device))
            features = _extract(self.name, network, torch.cat([rgb, true]), torch.cat([true, true]))
        else:  # a new run has refused it
            rank_zero_warn(f"{self.name} is nan: {self.weights} does not exist")
            features = torch.full((2 * len(L), 1), torch.nan, device=L.device)
        self.features.append(torch.stack(features.chunk(2), dim=1))

    def compute(self) -> Tensor:
        """Return the metric over all images, a scalar."""
        features, true = dim_zero_cat(self.features).cpu().unbind(1)
        if not features.isfinite().all():
            return torch.tensor(torch.nan)
        return self._metric.distance(features, true).double().mean().float()
