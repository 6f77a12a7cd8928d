"""An image classifier on the features of an encoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Router(nn.Module):
    """Logistic regression on the mean of an encoder's coarsest features.

    Attributes:
        mean: Mean of the training images' features, (channels,).
        std: Standard deviation of these features, (channels,).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, categories: Sequence[str]) -> None:
        super().__init__()
        self.categories = list(categories)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.linear = nn.Linear(channels, len(self.categories))
        nn.init.zeros_(self.linear.weight)

    def fit(self, features: Tensor, categories: Tensor, decay: float = 1e-3) -> None:
        """Fit to features; each category has the same total weight.

        Args:
            features: (N, channels).
            categories: (N,), indices; each category occurs at least twice.
            decay: Weight decay; small sets have fewer images than features.
        """
        self.mean, self.std = features.mean(0), features.std(0).clamp_min(1e-6)
        weights = 1 / torch.bincount(categories, minlength=len(self.categories)).float()
        optimizer = torch.optim.LBFGS(
            self.linear.parameters(), max_iter=200, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.logits(features), categories, weights)
            loss = loss + decay * self.linear.weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]

    def logits(self, features: Tensor) -> Tensor:
        """Return logits, (B, categories), for features, (B, channels)."""
        logits: Tensor = self.linear((features - self.mean) / self.std)
        return logits

    def forward(self, features: Tensor) -> Tensor:
        """Return probabilities, (B, categories), for features, (B, channels)."""
        return torch.softmax(self.logits(features), dim=1)
