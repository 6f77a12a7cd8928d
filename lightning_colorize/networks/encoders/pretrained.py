"""Base class of encoders with pretrained weights: freezing, batch norms, input range."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from lightning_colorize.networks.base import Encoder, NeedsWeights
from lightning_colorize.networks.encoders.weights import WeightsError, read_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PretrainedEncoder(Encoder, NeedsWeights):
    """An encoder with optional pretrained weights, freezing, and fixed batch norms.

    With loaded weights, batch norms keep their statistics by default (`norm_eval`), as is common
    when fine-tuning with small batches. Weights with folded batch norms (statistics merged into the
    convolutions) require this: normalizing by the batch would undo the scale and shift of every
    layer.

    Args:
        pretrained: Download the published weights.
        weights: File with a state dict in the format of the published weights, with any number of
            classes, instead of a download; also as `.safetensors`.
        frozen: Freeze all parameters and batch norm statistics.
        norm_eval: Keep batch norm statistics fixed during training; null: if weights are loaded.
        in_channels: 1 for lightness; 3 for RGB in [-1, 1], as losses on features need it.

    Raises:
        WeightsError: If weights are unavailable or do not fit, or folded batch norms would be
            trained.
    """

    def __init__(
        self,
        pretrained: bool = False,
        weights: Path | None = None,
        frozen: bool = False,
        norm_eval: bool | None = None,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        self.pretrained = pretrained
        self.weights = weights
        self.frozen = frozen
        self.norm_eval = pretrained or weights is not None if norm_eval is None else norm_eval
        self.in_channels = in_channels
        self.register_load_state_dict_post_hook(_loaded)  # type: ignore[no-untyped-call]

    def obtain_weights(self, fetch: Callable[[], Any], published: str) -> Any:
        """Return the initial weights and set `weights_from`; prefers a file to a download.

        Returns:
            The file's state dict, the result of `fetch`, or None for random weights.

        Raises:
            WeightsError: If the file cannot be read or the download fails.
        """
        if self.weights is not None:
            self.weights_from = f"file {self.weights}"
            return read_weights(self.weights)
        if not self.pretrained:
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

    def require_weights(self) -> None:
        """Raise a WeightsError if random weights, or the statistics of none, are frozen."""
        for name in ("frozen", "norm_eval"):
            if getattr(self, name) and self.weights_from == "random":
                raise WeightsError(
                    f"{name}: true without weights would freeze random numbers; set pretrained: "
                    f"true or weights: PATH, {name}: false, or give --model.checkpoint"
                )

    def settle(self) -> None:
        """Apply `frozen` and `norm_eval`; subclasses call it at the end of their constructor."""
        trains = self.weights_from != "random" and not (self.norm_eval or self.frozen)
        if trains and _has_folded_norms(self):
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
                if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
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


def _loaded(encoder: Any, _: Any) -> None:
    """Note that a state dict has replaced the initial weights."""
    encoder.weights_from = "checkpoint"
