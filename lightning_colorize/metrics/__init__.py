"""Metrics of predicted colors, torchmetrics collections, and baselines.

`lightning_colorize.metrics.spec` can be imported without torch: the names below are loaded on first
use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_colorize.metrics.spec import BASELINES

if TYPE_CHECKING:
    from lightning_colorize.metrics.baselines import Baselines
    from lightning_colorize.metrics.functional import (
        batch_metrics,
        colorization_metrics,
        diversity_ratio,
        per_image,
    )

__all__ = [
    "BASELINES",
    "Baselines",
    "batch_metrics",
    "colorization_metrics",
    "diversity_ratio",
    "per_image",
]

_MODULES = {
    "Baselines": "baselines",
    "batch_metrics": "functional",
    "colorization_metrics": "functional",
    "diversity_ratio": "functional",
    "per_image": "functional",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
