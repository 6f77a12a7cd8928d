"""Distance between features of a pretrained network."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import ColorBatch, to_rgb
from lightning_colorize.losses.base import Loss, predicted_ab
from lightning_colorize.networks import Encoder, WeightsError
from lightning_colorize.networks.base import NeedsWeights


class Perceptual(Loss, NeedsWeights):
    """Mean absolute error between features of the predicted and of the true image.

    Both images are RGB with the input's lightness, normalized as in the backbone's pretraining.
    VGG16 features are relu1_2, relu2_2, relu3_3 and relu4_3 (Johnson et al. 2016) and relu5_3, each
    after its pool, because `VGG16Encoder` returns these; its `layers` selects others. The distance
    follows pix2pixHD (Wang et al. 2018, VGG19), whose level weights are 1/32, 1/16, 1/8, 1/4 and 1.

    The backbone is not a submodule: the optimizer, checkpoints and parameter counts do not contain
    it, and it stays in evaluation mode and fp32 (autocast applies). Its weights are loaded when the
    loss is first computed, and by `fit` before, so colorizing does not need them.

    Args:
        backbone: A pretrained encoder, called with `in_channels` 3. A large one slows training.
        weights: Weight of each level, finest first; null: 1 for each.
    """

    def __init__(self, backbone: Callable[[], Encoder], weights: list[float] | None = None) -> None:
        super().__init__()
        self.build = backbone
        self.weights = weights

    @cached_property
    def backbone(self) -> Encoder:
        """The backbone, built when first used; not registered as a submodule.

        Raises:
            WeightsError: If the backbone's weights are random, unavailable or do not fit.
            ValueError: If the numbers of weights and levels differ.
        """
        backbone: Encoder = cast(Any, self.build)(in_channels=3).requires_grad_(False).eval()
        if backbone.weights_from == "random":
            raise WeightsError(
                "a perceptual loss needs pretrained weights; "
                "set the backbone's pretrained: true or weights: PATH"
            )
        levels = len(backbone.info.channels)
        if self.weights is not None and len(self.weights) != levels:
            raise ValueError(f"weights has {len(self.weights)} numbers for {levels} levels")
        return backbone

    def require_weights(self) -> None:
        """Load the backbone."""
        _ = self.backbone

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the weighted sum over levels of the mean over images, channels and pixels."""
        with torch.inference_mode(False):  # validation may be first, and training comes later
            backbone = self.backbone.to(prediction.device, torch.float32)
        with torch.no_grad():
            true = backbone(_rgb(batch.L, batch.ab))
        predicted = backbone(_rgb(batch.L, predicted_ab(prediction, batch)))
        distances = [F.l1_loss(x.float(), y.float()) for x, y in zip(predicted, true, strict=True)]
        weights = self.weights or [1.0] * len(distances)
        return torch.stack([w * d for w, d in zip(weights, distances, strict=True)]).sum()


def _rgb(L: Tensor, ab: Tensor) -> Tensor:
    return to_rgb(L, ab, clip=False) * 2 - 1
