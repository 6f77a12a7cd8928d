"""Encoder, decoder and head as one network from grey to color."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_colorize.color import NO_CONDITION, Condition
from lightning_colorize.networks.base import Decoder, Encoder, Head


class Colorizer(nn.Module):
    """Predicts the colors of grey images, at the input's height and width.

    Sizes that are not a multiple of the coarsest reduction are padded at the right and lower edge,
    and the prediction is cropped. Otherwise each level would round odd sizes, and colors would
    shift by up to one pixel of the coarsest level.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this number."""
        return math.lcm(self.encoder.info.reductions[-1], self.head.reduction)

    def forward(self, L: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Return the head's prediction.

        Args:
            L: (B, 1, H, W) in [-1, 1].
            condition: Ignored by an encoder without `conditions`.

        Returns:
            (B, C, H / r, W / r), rounded up, where r is the head's reduction.
        """
        decoded, size = self.decode(L, condition)
        return self.cropped(self.head(decoded, size), L.shape[-2:])

    def decode(self, L: Tensor, condition: Condition) -> tuple[Tensor, tuple[int, int]]:
        """Return the decoder's map, and the height and width to which L was padded for it."""
        size = round_up(L.shape[-2], self.multiple), round_up(L.shape[-1], self.multiple)
        given: list[Any] = [pad_input(L, *size)]
        if self.encoder.conditions:
            if condition.hints is not None:
                condition = condition._replace(hints=pad_input(condition.hints, *size))
            given.append(condition)
        return self.decoder(self.encoder(*given)), size

    def cropped(self, prediction: Tensor, size: Sequence[int]) -> Tensor:
        """Return the part of a prediction that belongs to an image of `size`."""
        reduction = self.head.reduction
        rows, columns = (round_up(side, reduction) // reduction for side in size)
        return crop(prediction, rows, columns)

    def to_ab(self, prediction: Tensor, size: Sequence[int]) -> Tensor:
        """Decode a prediction to ab, (B, 2, H, W) in [-1, 1], at the input's `size`."""
        ab, reduction = self.head.to_ab(prediction), self.head.reduction
        if reduction == 1:
            return ab
        ab = F.interpolate(ab, scale_factor=reduction, mode="bilinear", align_corners=False)
        return crop(ab, *size)


def round_up(side: int, multiple: int) -> int:
    """Return the smallest multiple of a number that is at least `side`."""
    # Not the shorter `-(-side // multiple)`: ONNX rounds negative quotients towards zero.
    return (side + multiple - 1) // multiple * multiple


def pad_input(L: Tensor, height: int, width: int) -> Tensor:
    """Pad images at the right and lower edge by reflection.

    If there is less to reflect than to pad, the opposite edge fills the rest.
    """
    if not torch.compiler.is_exporting() and (height, width) == L.shape[-2:]:
        return L
    for dim, side in ((-2, height), (-1, width)):
        last = L.shape[dim] - 1
        mirrored = last - (last - torch.arange(side, device=L.device)).abs()
        L = L.index_select(dim, mirrored.clamp(min=0))
    return L


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """Return the upper left part of maps."""
    if not torch.compiler.is_exporting():
        return x[..., :height, :width]
    # With a slice, an exported program would assume that something is cut off.
    rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
    return x.index_select(-2, rows).index_select(-1, columns)
