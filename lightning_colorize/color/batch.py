"""The batch types: uint8 RGB from the loader, (L, ab) for tasks, losses and metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Condition(NamedTuple):
    """Optional inputs that condition the colors of a batch.

    Attributes:
        labels: (B,), int64: indices into the class names of the data; -1 for none.
        texts: One text per image; "" for none.
    """

    labels: Tensor | None = None
    texts: Sequence[str] | None = None

    def chosen(self, images: Sequence[int]) -> "Condition":
        """Return the condition of the images at the given indices."""
        return Condition(
            None if self.labels is None else self.labels[list(images)],
            None if self.texts is None else [self.texts[index] for index in images],
        )


NO_CONDITION = Condition()


class RawBatch(NamedTuple):
    """A batch as the loader returns it.

    Attributes:
        rgb: (B, 3, H, W), uint8, sRGB in 0..255.
        names: The images' names, relative to their source.
        condition: Labels and texts, if the source has any.
    """

    rgb: Tensor
    names: list[str]
    condition: Condition = NO_CONDITION


@dataclass(frozen=True)
class ColorBatch:
    """A batch of images as lightness and color, on the device.

    Attributes:
        L: (B, 1, H, W), fp32, in [0, 100]: the input of the network. In training, grey jitter
            changes it, so it may differ from the lightness of the true colors.
        ab: (B, 2, H, W), fp32, in LAB units: the true colors.
        names: The images' names, relative to their source.
        target: The true colors in the output format of the network's head. Set by the task.
        decode: Decodes a prediction of the head to ab, (B, 2, H, W) in LAB units, with gradients.
            Set by the task.
        condition: Labels and texts, if the source has any.
    """

    L: Tensor
    ab: Tensor
    names: list[str]
    target: Tensor | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    condition: Condition = NO_CONDITION

    def __len__(self) -> int:
        return len(self.L)

    def chosen(self, images: Sequence[int]) -> "ColorBatch":
        """Return a batch of the images at the given indices."""
        chosen = list(images)
        names, condition = [self.names[i] for i in chosen], self.condition.chosen(chosen)
        return ColorBatch(self.L[chosen], self.ab[chosen], names, condition=condition)
