"""The batch types: uint8 RGB from the loader, (L, ab) for tasks, losses and metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Condition(NamedTuple):
    """Optional inputs that condition the colors of a batch.

    Attributes:
        labels: (B,), int64: indices into the class names of the data; -1 for none.
        texts: One text per image; "" for none.
        hints: (B, 3, H, W), fp32: ab in LAB units and the mask, from 0 to 1, of hinted pixels.
        palettes: (B, 5, 3), fp32: a and b in LAB units and the share of up to 5 colors; a share of
            0 for an unused row.
    """

    labels: Tensor | None = None
    texts: Sequence[str] | None = None
    hints: Tensor | None = None
    palettes: Tensor | None = None

    @property
    def has_colors(self) -> bool:
        """Whether it contains colors, which `scaled` changes."""
        return self.hints is not None or self.palettes is not None

    def chosen(self, images: Sequence[int]) -> "Condition":
        """Return the condition of the images at the given indices."""
        index = list(images)
        chosen: Any = (
            x[index] if isinstance(x, Tensor) else x and [x[i] for i in index] for x in self
        )
        return Condition(*chosen)

    def mirrored(self) -> "Condition":
        """Return the condition of the mirror images."""
        return self if self.hints is None else self._replace(hints=self.hints.flip(-1))

    def scaled(self, factor: float) -> "Condition":
        """Return the condition with the colors of hints and palettes multiplied by a factor."""
        hints, palettes = self.hints, self.palettes
        if hints is not None:
            hints = hints * hints.new_tensor([factor, factor, 1]).view(3, 1, 1)
        if palettes is not None:
            palettes = palettes * palettes.new_tensor([factor, factor, 1])
        return self._replace(hints=hints, palettes=palettes)

    def joined(self, other: "Condition") -> "Condition":
        """Return the condition of two batches, which have the same kinds of conditions."""
        pairs: Any = zip(self, other, strict=True)
        joined: Any = (
            torch.cat([x, y]) if isinstance(x, Tensor) else x and [*x, *y] for x, y in pairs
        )
        return Condition(*joined)


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
