"""A weighted sum of losses."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses.base import Loss
from lightning_colorize.networks import AbHead, Head


class WeightedSum(Loss):
    """A weighted sum of named losses; each term is logged under its name.

    Args:
        losses: The losses by name.
        weights: Weights by name; 1 by default.
    """

    def __init__(self, losses: dict[str, Loss], weights: dict[str, float] | None = None) -> None:
        super().__init__()
        weights = weights or {}
        if not losses:
            raise ValueError("losses is empty: name at least one")
        if unknown := sorted(set(weights) - set(losses)):
            raise ValueError(f"weights names {unknown}, but the losses are {sorted(losses)}")
        self.losses = nn.ModuleDict(cast(Mapping[str, nn.Module], losses))
        self.head = next((x.head for x in losses.values() if x.head is not AbHead), AbHead)
        self.weights = {name: weights.get(name, 1.0) for name in losses}

    def require_head(self, head: Head) -> None:
        """Check that each loss supports the head."""
        for loss in self.losses.values():
            cast(Loss, loss).require_head(head)

    def terms(self, prediction: Tensor, batch: ColorBatch) -> dict[str, Tensor]:
        """Return each loss times its weight, by name."""
        return {
            name: self.weights[name] * loss(prediction, batch) for name, loss in self.losses.items()
        }

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the sum of the weighted losses."""
        return torch.stack([*self.terms(prediction, batch).values()]).sum()
