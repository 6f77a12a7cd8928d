"""Metrics of models next to their baselines, as numbers and as tables.

from lightning_colorize.evaluation import evaluate
from lightning_colorize.inference import load_model

evaluate(load_model("runs/unet/first"), "photos").rows["model"]["psnr"]
"""

from lightning_colorize.evaluation.data import EvaluationImages, count_trained, find_images
from lightning_colorize.evaluation.evaluator import Evaluation, evaluate, evaluate_batches
from lightning_colorize.evaluation.report import print_result
from lightning_colorize.evaluation.table import metrics_table, print_plain

__all__ = [
    "Evaluation",
    "EvaluationImages",
    "count_trained",
    "evaluate",
    "evaluate_batches",
    "find_images",
    "metrics_table",
    "print_plain",
    "print_result",
]
