"""Base class of encoders with pretrained weights: freezing, batch norms, input channels."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import WeightsEnum

from lightning_colorize.networks.base import Encoder, FeatureInfo
from lightning_colorize.networks.encoders.weights import (
    WeightsError,
    fetch_torchvision,
    load_weights,
    read_weights,
    weights_skipped,
)
from lightning_colorize.networks.layers import run_stages

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_CHANNELS: ContextVar[int] = ContextVar("input_channels", default=1)


@contextmanager
def rgb_input() -> Iterator[None]:
    """Build pretrained encoders for RGB in [-1, 1], (B, 3, H, W), instead of lightness.

    For losses on features; colorizers only see lightness.
    """
    token = _CHANNELS.set(3)
    try:
        yield
    finally:
        _CHANNELS.reset(token)


def input_channels() -> int:
    """Return 3 within `rgb_input`, else 1."""
    return _CHANNELS.get()


class PretrainedEncoder(Encoder):
    """An encoder with optional pretrained weights, freezing, and fixed batch norms.

    With loaded weights, batch norms keep their statistics by default (`norm_eval`), as is common
    when fine-tuning with small batches. Weights with folded batch norms (statistics merged into the
    convolutions) require this: normalizing by the batch would undo the scale and shift of every
    layer.

    Attributes:
        stages: Consecutive modules; their outputs are the levels.
        normalization: Input range of the first stage: `imagenet` (ImageNet's mean and standard
            deviation), `half` (-1..1) or `0..1`.

    Raises:
        WeightsError: If random weights would be frozen.
    """

    stages: nn.ModuleList
    normalization: str = "imagenet"

    @abstractmethod
    def __init__(
        self, pretrained: bool, weights: Path | None, frozen: bool, norm_eval: bool | None
    ) -> None:
        super().__init__()
        loads = pretrained or weights is not None
        if frozen and not loads and not weights_skipped():
            raise WeightsError(
                "frozen: true without weights would freeze random numbers; "
                "set pretrained: true or weights: PATH, frozen: false, or give --model.checkpoint"
            )
        self.frozen = frozen
        self._initial = (pretrained, weights)
        self.norm_eval = loads if norm_eval is None else norm_eval

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1, H, W) in [-1, 1]."""
        if self.normalization == "imagenet":
            L = normalize_input(L)
        elif self.normalization == "0..1":
            L = normalize_input(L, (0.0,), (1.0,))
        return run_stages(self.stages, L)

    def obtain_weights(self, fetch: Callable[[], Any], published: str) -> Any:
        """Return the initial weights and set `weights_from`; prefers a file to a download.

        Returns:
            The file's state dict, the result of `fetch`, or None for random weights and within
            `skip_weights`.

        Raises:
            WeightsError: If the file cannot be read or the download fails.
        """
        pretrained, weights = self._initial
        if weights_skipped():
            self.weights_from = "checkpoint"
            return None
        if weights is not None:
            self.weights_from = f"file {weights}"
            return read_weights(weights)
        if not pretrained:
            return None
        try:
            self.weights_from = published
            return fetch()
        except Exception as error:  # each library raises its own errors for a failed download
            reason = " ".join(str(error).split())[:120]
            raise WeightsError(
                f"pretrained weights ({published}) could not be downloaded: {reason}; "
                "set weights: PATH to a downloaded file, or pretrained: false (for the network's "
                "encoder: --model.encoder.weights PATH, or --model.encoder.pretrained false)"
            ) from error

    def load_torchvision(self, network: nn.Module, published: WeightsEnum, classifier: str) -> bool:
        """Load the initial weights into torchvision's network, except for its classifier.

        Returns:
            Whether weights were loaded.

        Raises:
            WeightsError: If the weights are unavailable or do not fit.
        """
        state = self.obtain_weights(
            lambda: fetch_torchvision(published), f"torchvision {published}"
        )
        if state is not None:
            load_weights(network, state, classifier)
        return state is not None

    def keep_levels(
        self, stages: Sequence[nn.Module], channels: Sequence[int], levels: int = 5
    ) -> None:
        """Keep the first levels of a network with five levels, /2 to /32, and call `settle`.

        Raises:
            ValueError: If `levels` is not 1 to 5.
        """
        if not 1 <= levels <= 5:
            raise ValueError(f"levels is {levels}; {type(self).__name__} supports 1 to 5")
        self.stages = nn.ModuleList(stages[:levels])
        self.info = FeatureInfo(tuple(channels[:levels]), (2, 4, 8, 16, 32)[:levels])
        self.settle()

    def settle(self) -> None:
        """Apply `frozen` and `norm_eval`; subclasses call it at the end of their constructor.

        Raises:
            WeightsError: If folded batch norms would be trained.
        """
        trained = not (self.norm_eval or self.frozen or weights_skipped())
        if trained and _has_folded_norms(self):
            raise WeightsError(
                "these weights have their batch norms folded into the convolutions; "
                "training them would undo that: set norm_eval: true"
            )
        self.requires_grad_(not self.frozen)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except for frozen parts."""
        super().train(mode and not self.frozen)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def _has_folded_norms(network: nn.Module) -> bool:
    """Return whether all batch norms were folded into the convolutions.

    Folded batch norms have mean 0 and variance 1, like new ones, but a nonzero shift.
    """
    norms = [m.state_dict() for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    return bool(norms) and all(
        bool((n["running_mean"] == 0).all() and (n["running_var"] == 1).all() and n["bias"].any())
        for n in norms
    )


def normalize_input(
    image: Tensor,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Tensor:
    """Normalize the input of a network pretrained on RGB.

    RGB is normalized per channel. Lightness stays one channel: it stands for the image with R = G =
    B = L, normalized by the channels' average mean and standard deviation (0.449 and 0.226 for
    ImageNet). With the same constants for all channels, the weights summed over RGB are exactly
    equivalent to the three-channel weights, also at zero-padded borders. L* / 100 and the sRGB
    value of a grey differ by at most 0.034.

    Args:
        image: (B, 1, H, W) or (B, 3, H, W) in [-1, 1]; or lightness with other channels, which
            are unchanged.
        mean: Mean per channel in pretraining, for images in [0, 1].
        std: Standard deviation per channel in pretraining.
    """
    unit = (image + 1) / 2
    if image.shape[1] != 3:
        grey = (unit[:, :1] - sum(mean) / len(mean)) / (sum(std) / len(std))
        return grey if image.shape[1] == 1 else torch.cat([grey, image[:, 1:]], dim=1)
    shift, scale = (unit.new_tensor(values).view(-1, 1, 1) for values in (mean, std))
    return (unit - shift) / scale


def fit_channels(conv: nn.Conv2d) -> nn.Conv2d:
    """Adapt a network's first convolution to lightness by summing its weights over RGB.

    Within `rgb_input`, the convolution is returned unchanged.
    """
    if input_channels() == 3:
        return conv
    summed = nn.Conv2d(
        1,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        bias=False,
    )
    summed.weight.data = conv.weight.data.sum(dim=1, keepdim=True)
    return summed
