"""Heads: from the decoder's map to a prediction of ab."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_colorize.networks.base import Head
from lightning_colorize.networks.layers import init_normal


class RegressionHead(Head):
    """The base of heads that regress ab.

    The map is computed for -1..1 and then mapped affinely to `target_range`, so the same weights
    give the same image under either range. For 0..1, tanh is a sigmoid: (tanh(x) + 1) / 2 =
    sigmoid(2x).
    """

    def __init__(
        self,
        conv: nn.Conv2d | nn.ConvTranspose2d,
        target_range: Literal["-1..1", "0..1"],
        activation: Literal["tanh", "none"],
    ) -> None:
        super().__init__()
        self.target_range = target_range
        self.activation = activation
        self.conv = conv

    def forward(self, decoded: Tensor, size: tuple[int, int]) -> Tensor:
        """Return predicted ab in the target's range: (B, 2, H, W) at `size`."""
        ab: Tensor = self.conv(decoded)
        if ab.dtype in (torch.bfloat16, torch.float16):
            # Near 0.5 a step of bf16 is almost one unit of ab: 0..1 would be coarser than -1..1.
            ab = ab.float()
        if ab.shape[-2:] != size:
            ab = F.interpolate(ab, size=size, mode="bilinear", align_corners=False)
        if self.activation == "tanh":
            ab = torch.tanh(ab)
        return self.target(ab)

    def target(self, ab: Tensor) -> Tensor:
        """Return ab of [-1, 1] in the target's range: (B, 2, H, W)."""
        return (ab + 1) / 2 if self.target_range == "0..1" else ab

    def to_ab(self, prediction: Tensor) -> Tensor:
        """Return a prediction's ab in [-1, 1] (outside it without an activation): (B, 2, H, W)."""
        return prediction * 2 - 1 if self.target_range == "0..1" else prediction


class AbHead(RegressionHead):
    """Regression of ab by one convolution.

    Initialized near zero: the first prediction is almost grey.

    Args:
        in_channels: Channels of the decoder's map.
        target_range: Range of targets and predictions; 0..1 has grey at 0.5.
        activation: `tanh` keeps predictions within the range, `none` does not.
        kernel_size: Side of the convolution to two channels; odd.
    """

    def __init__(
        self,
        in_channels: int,
        target_range: Literal["-1..1", "0..1"] = "-1..1",
        activation: Literal["tanh", "none"] = "tanh",
        kernel_size: int = 3,
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}; the head needs an odd one")
        conv = nn.Conv2d(in_channels, 2, kernel_size, padding=kernel_size // 2)
        nn.init.normal_(conv.weight, std=1e-3)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        super().__init__(conv, target_range, activation)


class DeconvHead(RegressionHead):
    """ReLU, transposed convolution 4x4 of stride 2, tanh: the last step of pix2pix's generator.

    For a decoder that stops at /2, as `UNetDecoder` does.

    Args:
        in_channels: Channels of the decoder's map.
        target_range: Range of targets and predictions; 0..1 has grey at 0.5.
    """

    def __init__(self, in_channels: int, target_range: Literal["-1..1", "0..1"] = "-1..1") -> None:
        conv = nn.ConvTranspose2d(in_channels, 2, 4, stride=2, padding=1)
        super().__init__(conv, target_range, activation="tanh")
        init_normal(self)

    def forward(self, decoded: Tensor, size: tuple[int, int]) -> Tensor:
        """Return predicted ab in the target's range: (B, 2, H, W) at `size`."""
        return super().forward(F.relu(decoded), size)
