"""The two batch types: uint8 RGB from the loader, (L, ab) for tasks, losses and metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class RawBatch(NamedTuple):
    """A batch as the loader ships it.

    Attributes:
        rgb: (B, 3, H, W), uint8, sRGB in 0..255.
        names: The images' names, relative to their source.
    """

    rgb: Tensor
    names: list[str]


@dataclass(frozen=True)
class ColorBatch:
    """A batch of images as lightness and color, on the device.

    Attributes:
        L: (B, 1, H, W), fp32, in [0, 100]: the input of the network. Grey jitter changes it in
            training; then it is not the lightness of the true colors.
        ab: (B, 2, H, W), fp32, in LAB units: the true colors.
        names: The images' names, relative to their source.
        target: The true colors in the form that the network's head predicts. The task sets it.
        decode: From a prediction of the head to its colors, (B, 2, H, W) in LAB units, with
            gradients. The task sets it.
    """

    L: Tensor
    ab: Tensor
    names: list[str]
    target: Tensor | None = None
    decode: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.L)
