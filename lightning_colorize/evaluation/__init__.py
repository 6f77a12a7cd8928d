"""How good a network is beside its baselines: measured, as tables and in words."""

from lightning_colorize.evaluation.data import EvaluationImages, count_common, find_images
from lightning_colorize.evaluation.measure import Evaluation, evaluate
from lightning_colorize.evaluation.report import print_result
from lightning_colorize.evaluation.table import metrics_table, print_plain

__all__ = [
    "Evaluation",
    "EvaluationImages",
    "count_common",
    "evaluate",
    "find_images",
    "metrics_table",
    "print_plain",
    "print_result",
]
