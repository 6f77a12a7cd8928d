"""Encoder, decoder and head as one network from grey to color."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_colorize.networks.base import Decoder, Encoder, Head


class Colorizer(nn.Module):
    """Predicts colors of grey images, at the input's height and width.

    Sizes that are no multiple of the coarsest reduction are padded at the right and lower edge, and
    the prediction is cropped. Otherwise each level would round odd sizes, and colors would shift by
    up to one pixel of the coarsest level.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    @property
    def multiple(self) -> int:
        """The number whose multiples are the sizes that are not padded."""
        return math.lcm(self.encoder.info.reductions[-1], self.head.reduction)

    def forward(self, L: Tensor) -> Tensor:
        """Return the head's prediction for L, (B, 1, H, W) in [-1, 1].

        Returns:
            (B, C, H / r, W / r), rounded up, where r is the head's reduction.
        """
        height, width = L.shape[-2:]
        reduction = self.head.reduction
        multiple = self.multiple
        size = height + -height % multiple, width + -width % multiple
        decoded = self.decoder(self.encoder(pad_input(L, *size)))
        prediction: Tensor = self.head(decoded, size)
        return prediction[..., : -(-height // reduction), : -(-width // reduction)]

    def to_ab(self, prediction: Tensor, size: Sequence[int]) -> Tensor:
        """Decode a prediction to ab, (B, 2, H, W) in [-1, 1], at the input's `size`."""
        ab, reduction = self.head.to_ab(prediction), self.head.reduction
        if reduction == 1:
            return ab
        ab = F.interpolate(ab, scale_factor=reduction, mode="bilinear", align_corners=False)
        return ab[..., : size[0], : size[1]]


def pad_input(L: Tensor, height: int, width: int) -> Tensor:
    """Pad images at the right and lower edge, by reflection where they are large enough."""
    below, right = height - L.shape[-2], width - L.shape[-1]
    if not below and not right:
        return L
    reflects = below < L.shape[-2] and right < L.shape[-1]
    return F.pad(L, (0, right, 0, below), mode="reflect" if reflects else "replicate")
