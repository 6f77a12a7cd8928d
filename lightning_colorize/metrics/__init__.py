"""How good predicted colours are: per picture, as torchmetrics collections, beside baselines."""

from lightning_colorize.metrics.baselines import BASELINES, Baselines
from lightning_colorize.metrics.collection import colorization_metrics
from lightning_colorize.metrics.diversity import diversity_ratio
from lightning_colorize.metrics.pictures import colorfulness, per_picture
from lightning_colorize.metrics.training import batch_figures

__all__ = [
    "BASELINES",
    "Baselines",
    "batch_figures",
    "colorfulness",
    "colorization_metrics",
    "diversity_ratio",
    "per_picture",
]
