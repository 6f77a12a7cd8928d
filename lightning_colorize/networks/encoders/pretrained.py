"""The base of encoders with pretrained weights: freezing, batch norms, input channels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import WeightsEnum

from lightning_colorize.networks.base import Encoder, FeatureInfo
from lightning_colorize.networks.encoders.fetch import fetch_torchvision
from lightning_colorize.networks.encoders.weights import (
    WeightsError,
    has_folded_norms,
    load_weights,
    obtain_weights,
    weights_skipped,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_CHANNELS: ContextVar[int] = ContextVar("input_channels", default=1)


@contextmanager
def rgb_input() -> Iterator[None]:
    """Build pretrained encoders for RGB in [-1, 1], (B, 3, H, W), in place of lightness.

    For losses of features; colorizers see lightness only.
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
    """An encoder that can start from pretrained weights, be frozen, and fix its batch norms.

    Batch norms of loaded weights keep their statistics by default (`norm_eval`), as is common in
    fine-tuning with small batches. Weights with folded batch norms (statistics merged into the
    convolutions) need it: normalizing by the batch would undo the scale and shift of every layer.

    Raises:
        WeightsError: If it would be frozen at random weights.
    """

    def __init__(
        self, pretrained: bool, weights: Path | None, frozen: bool, norm_eval: bool | None
    ) -> None:
        super().__init__()
        loads = pretrained or weights is not None
        if frozen and not loads and not weights_skipped():
            raise WeightsError(
                "frozen: true without weights would freeze random numbers; "
                "set pretrained: true or weights: PATH, or frozen: false"
            )
        self.frozen = frozen
        self._initial = (pretrained, weights)
        self.norm_eval = loads if norm_eval is None else norm_eval

    def load_torchvision(self, network: nn.Module, published: WeightsEnum, classifier: str) -> bool:
        """Load the initial weights into torchvision's network, except for its classifier.

        Returns:
            Whether there are any.

        Raises:
            WeightsError: If they are unavailable or do not fit.
        """
        state, self.weights_from = obtain_weights(
            *self._initial, lambda: fetch_torchvision(published), f"torchvision {published}"
        )
        if state is not None:
            load_weights(network, state, classifier)
        return state is not None

    def keep_levels(
        self, stages: Sequence[nn.Module], channels: Sequence[int], levels: int
    ) -> None:
        """Keep the first levels of a network that has five, /2 to /32, and `settle`.

        Raises:
            ValueError: If `levels` is not 1 to 5.
        """
        if not 1 <= levels <= 5:
            raise ValueError(f"levels is {levels}; {type(self).__name__} has 1 to 5")
        self.stages = nn.ModuleList(stages[:levels])
        self.info = FeatureInfo(tuple(channels[:levels]), (2, 4, 8, 16, 32)[:levels])
        self.settle()

    def settle(self) -> None:
        """Apply `frozen` and `norm_eval`; subclasses call it at the end of their constructor.

        Raises:
            WeightsError: If folded batch norms would be trained.
        """
        if not self.norm_eval and not self.frozen and has_folded_norms(self):
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


def normalize_input(
    image: Tensor,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Tensor:
    """Normalize the input of a network pretrained on RGB.

    RGB is normalized per channel. Lightness stays one channel: the image with R = G = B = L,
    normalized by the channels' average mean and standard deviation (0.449 and 0.226 for ImageNet).
    With one constant for all three, the weights summed over RGB see exactly what the three-channel
    weights would, at the zero-padded borders too. L* / 100 and the sRGB value of a grey differ by
    at most 0.034.

    Args:
        image: (B, 1, H, W) or (B, 3, H, W) in [-1, 1].
        mean: The pretraining's mean per channel, of images in [0, 1].
        std: Its standard deviation per channel.
    """
    unit = (image + 1) / 2
    if image.shape[1] == 1:
        return (unit - sum(mean) / len(mean)) / (sum(std) / len(std))
    shift, scale = (unit.new_tensor(values).view(-1, 1, 1) for values in (mean, std))
    return (unit - shift) / scale


def fit_channels(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a network's first convolution for lightness: its weights summed over RGB.

    Within `rgb_input`, it is returned as it is.
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
