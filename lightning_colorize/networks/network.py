"""Encoder, decoder and head as one network from grey to color."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_colorize.color import AB_SCALE, NO_CONDITION, Condition
from lightning_colorize.color.hints import CHANNELS, SPREAD, hint_channels
from lightning_colorize.networks.base import Decoder, Encoder, Head
from lightning_colorize.networks.layers import at_size

_WIDTH = 64  # channels of the gate
_HINT_LOGIT_INIT = 2.0  # initial gate logit at hinted pixels
_NEVER = 1e-30  # confidence without hints: too small to change a prediction in fp32


class ColorizationNetwork(nn.Module):
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
        self.gate = HintGate(decoder.out_channels) if "hints" in encoder.conditions else None
        self.register_load_state_dict_pre_hook(_without_gate)  # type: ignore[no-untyped-call]

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this number."""
        return math.lcm(self.encoder.info.reductions[-1], self.head.reduction)

    def forward(self, L: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Return the prediction: (B, C, H / r, W / r), rounded up, for the head's reduction r.

        Args:
            L: (B, 1, H, W) in [-1, 1].
            condition: Ignored by an encoder without `conditions`.
        """
        _, prediction = self.decode(L, condition)
        return self.cropped(prediction, L.shape[-2:])

    def decode(self, L: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Return the decoder's map and the head's prediction, of the padded L."""
        size = round_up(L.shape[-2], self.multiple), round_up(L.shape[-1], self.multiple)
        padded, hints = pad_input(L, *size), condition.hints
        given: list[Any] = [padded]
        if self.encoder.conditions:
            if hints is not None:
                hints = hint_channels(pad_input(hints, *size), padded)
            given.append(condition._replace(hints=hints))
        decoded = self.decoder(self.encoder(*given))
        prediction: Tensor = self.head(decoded, size)
        if self.gate is not None and hints is not None:
            small = F.avg_pool2d(hints.float(), self.head.reduction)
            prediction = self.head.mix(prediction, *self.gate(decoded, small))
        return decoded, prediction

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


class HintGate(nn.Module):
    """Decides for each pixel whether it takes the color that is diffused from the hints.

    As a pointer network copies words (See et al. 2017, "Get To The Point"). Before training, the
    decision depends on the distance to the hints alone. An image without hints stays the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(channels, _WIDTH, 1)
        self.hint = nn.Conv2d(CHANNELS, _WIDTH, 1)
        self.logit = nn.Conv2d(_WIDTH, 1, 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.constant_(self.logit.bias, _HINT_LOGIT_INIT)  # type: ignore[arg-type]

    def forward(self, decoded: Tensor, hints: Tensor) -> tuple[Tensor, Tensor]:
        """Return the diffused color and its log-odds against the network's own prediction.

        For the decoder's map of any size, and hints, (B, 6, h, w), as `hint_channels` returns: ab
        in [-1, 1], (B, 2, h, w), and log-odds, (B, 1, h, w).
        """
        features = at_size(self.map(decoded), hints.shape[-2:])
        logit = self.logit(F.relu(features + self.hint(hints.to(features.dtype)))).float()
        ab, confidence = hints[:, 3:5], hints[:, 5:]
        return ab * (SPREAD / AB_SCALE), logit + confidence.clamp(min=_NEVER).log()


def _without_gate(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Keep the initial gate when the state dict of a network without hints is loaded."""
    gate = cast(ColorizationNetwork, module).gate
    if gate is not None and not any(name.startswith(f"{prefix}gate.") for name in state):
        state |= gate.state_dict(prefix=f"{prefix}gate.")


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
