"""A network for all images, and specialists for categories."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from lightning_colorize.networks import Decoder, Encoder, FeatureInfo, Head
from lightning_colorize.networks.router import Router
from lightning_colorize.tasks.predictor import Predictor


class RoutedPredictor(Predictor):
    """A common network, and specialists of the same architecture for some categories.

    An image goes to the specialist of its most probable category, to the common network if that
    category has none or is less probable than `confidence`.

    Args:
        encoder: Of the common network; the specialists have copies.
        decoder: The same.
        head: The same.
        categories: Names of the categories that the router distinguishes.
        named: Those that have a specialist, in the order of `specialists`.
        confidence: Least probability, 0 to 1.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Callable[[FeatureInfo], Decoder],
        head: Callable[[int], Head],
        categories: list[str],
        named: list[str],
        confidence: float = 0.5,
    ) -> None:
        super().__init__(encoder, decoder, head)
        self.named = named
        self.confidence = confidence
        self.router = Router(encoder.info.channels[-1], categories)
        self.specialists = nn.ModuleList(deepcopy(self.net) for _ in named)

    def features(self, L: Tensor) -> Tensor:
        """Return the mean of the coarsest features for L, (B, 1, H, W) in [0, 100]: (B, C)."""
        encoded: list[Tensor] = self.net.encoder(self.scaling.normalize_L(L).to(self.dtype))
        return encoded[-1].mean(dim=(2, 3))

    def choose(self, L: Tensor) -> list[str | None]:
        """Return the category whose specialist colors each image; None for the common network."""
        probability, index = self.router(self.features(L)).max(dim=1)
        names = [self.router.categories[i] for i in index.tolist()]
        chosen = zip(names, probability.tolist(), strict=True)
        return [n if n in self.named and p >= self.confidence else None for n, p in chosen]

    def predict_views(self, L: Tensor) -> list[Tensor]:
        """Return each image's views, all by the network that is chosen for it."""
        chosen = self.choose(L)
        views: list[Tensor] = []
        for name in set(chosen):
            which = torch.tensor([other == name for other in chosen], device=L.device)
            net = self.net if name is None else self.specialists[self.named.index(name)]
            parts = self.views_of(net, L[which])
            views = views or [part.new_empty(len(L), *part.shape[1:]) for part in parts]
            for view, part in zip(views, parts, strict=True):
                view[which] = part
        return views
