"""The two forms of a batch: as the loader ships it and as tasks, losses and metrics take it."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor


class RawBatch(NamedTuple):
    """What the loader ships.

    Attributes:
        rgb: (B, 3, H, W), uint8, sRGB in 0..255.
        names: The images' names, relative to their source.
    """

    rgb: Tensor
    names: list[str]


@dataclass(frozen=True)
class ColorBatch:
    """Photographs as lightness and colour, on the device.

    Attributes:
        L: (B, 1, H, W), fp32, in [0, 100]: what the network sees. In training it may come from a
            jittered grey conversion; then it is not the lightness of the true colours.
        ab: (B, 2, H, W), fp32, in LAB units: the true colours.
        names: The images' names, relative to their source.
        target: The true colours in the form that the network's head predicts; set by the task.
    """

    L: Tensor
    ab: Tensor
    names: list[str]
    target: Tensor | None = None

    def __len__(self) -> int:
        return len(self.L)

    def with_target(self, target: Tensor) -> "ColorBatch":
        """Return the same batch with the head's form of the true colours."""
        return replace(self, target=target)
