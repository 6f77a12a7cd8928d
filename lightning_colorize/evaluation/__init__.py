"""How good a network is beside its baselines: measured, as tables and in words."""

from lightning_colorize.evaluation.data import EvaluationPictures, count_common, find_pictures
from lightning_colorize.evaluation.measure import Evaluation, evaluate
from lightning_colorize.evaluation.report import print_result
from lightning_colorize.evaluation.table import metrics_table, print_plain

__all__ = [
    "Evaluation",
    "EvaluationPictures",
    "count_common",
    "evaluate",
    "find_pictures",
    "metrics_table",
    "print_plain",
    "print_result",
]
