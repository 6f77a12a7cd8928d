"""The baselines as models."""

from torch import Tensor

from lightning_colorize.color import Condition
from lightning_colorize.metrics import BASELINES, Baselines, spec
from lightning_colorize.models.base import Model


class BaselineModel(Model):
    """One of `BASELINES`, without a network; `grey` needs no fitted baselines."""

    def __init__(self, name: str, baselines: Baselines | None = None) -> None:
        self.name = name
        self.baselines = baselines

    def predict(self, L: Tensor, condition: Condition) -> Tensor:
        """Return ab, (B, 2, H, W) in LAB units."""
        if self.baselines is None:
            return L.new_zeros(len(L), 2, *L.shape[-2:])
        return self.baselines.predict(self.name, L)


def baseline_models(baselines: Baselines | None) -> dict[str, BaselineModel]:
    """Return the baselines by name; only `grey` if they are not fitted."""
    names = (spec.GREY,) if baselines is None else BASELINES
    return {name: BaselineModel(name, baselines) for name in names}
