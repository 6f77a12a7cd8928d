"""How good predicted colours are: per image, as torchmetrics collections, beside baselines."""

from lightning_colorize.metrics.baselines import BASELINES, Baselines
from lightning_colorize.metrics.collection import colorization_metrics
from lightning_colorize.metrics.diversity import diversity_ratio
from lightning_colorize.metrics.functional import colorfulness, per_image
from lightning_colorize.metrics.training import batch_figures

__all__ = [
    "BASELINES",
    "Baselines",
    "batch_figures",
    "colorfulness",
    "colorization_metrics",
    "diversity_ratio",
    "per_image",
]
