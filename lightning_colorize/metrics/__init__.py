"""How good predicted colours are: per picture, as torchmetrics collections, beside baselines."""

from lightning_colorize.metrics.baselines import BASELINES, Baselines
from lightning_colorize.metrics.collection import colorization_metrics
from lightning_colorize.metrics.pictures import colorfulness, per_picture

__all__ = ["BASELINES", "Baselines", "colorfulness", "colorization_metrics", "per_picture"]
