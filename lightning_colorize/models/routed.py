"""A common network with specialists for image categories."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_colorize.color import Condition, LabScaling
from lightning_colorize.models.network import NetworkModel, Predicted
from lightning_colorize.networks import ColorizationNetwork
from lightning_colorize.networks.router import Router


class RoutedModel(NetworkModel):
    """A common network with specialists of the same architecture for some categories.

    An image goes to the specialist for its most probable category, or to the common network if the
    category has no specialist or is less probable than `confidence`, 0 to 1. The router classifies
    images by the common network's features.
    """

    is_of_run = False  # the run is of the common network alone

    def __init__(
        self,
        network: ColorizationNetwork,
        scaling: LabScaling,
        router: Router,
        specialists: Mapping[str, ColorizationNetwork],
        confidence: float = 0.5,
    ) -> None:
        super().__init__(network, scaling)
        self.router = router
        self.specialists = dict(specialists)
        self.confidence = confidence

    def features(self, L: Tensor) -> Tensor:
        """Return the mean of the coarsest features for L, (B, 1, H, W) in [0, 100]: (B, C)."""
        # In fp32, so that the precision setting does not change the choice.
        with torch.autocast(L.device.type, enabled=False):
            encoded: list[Tensor] = self.network.encoder(self._normalized(L))
        return encoded[-1].mean(dim=(2, 3))

    def choose(self, L: Tensor) -> list[str | None]:
        """Return the category of each image's specialist; None for the common network."""
        probability, index = self.router(self.features(L)).max(dim=1)
        names = [self.router.categories[i] for i in index.tolist()]
        chosen = zip(names, probability.tolist(), strict=True)
        return [n if n in self.specialists and p >= self.confidence else None for n, p in chosen]

    def views(self, L: Tensor, condition: Condition, flip: bool) -> list[Predicted]:
        """Return each image's predictions, by the network chosen for it."""
        chosen = self.choose(L)
        views: list[Predicted] = []
        for name in set(chosen):
            which = torch.tensor([other == name for other in chosen], device=L.device)
            network = self.network if name is None else self.specialists[name]
            images = which.nonzero().flatten().tolist()
            parts = self._views(network, L[which], condition.chosen(images), flip)
            views = views or [
                Predicted(p.values.new_empty(len(L), *p.values.shape[1:]), p.size, chosen)
                for p in parts
            ]
            for view, part in zip(views, parts, strict=True):
                view.values[which] = part.values
        return views

    def predict(self, L: Tensor, condition: Condition) -> Predicted:
        """Return each image's prediction, by the network chosen for it."""
        (view,) = self.views(L, condition, flip=False)
        return view

    def modules(self) -> dict[str, nn.Module]:
        """Return the modules by their names in an exported file."""
        specialists = nn.ModuleList(self.specialists.values())
        return {**super().modules(), "router": self.router, "specialists": specialists}

    def hyperparameters(self) -> dict[str, Any]:
        """Return the arguments of `exported.ExportedNetwork`."""
        return super().hyperparameters() | {
            "categories": self.router.categories,
            "named": list(self.specialists),
            "confidence": self.confidence,
        }
