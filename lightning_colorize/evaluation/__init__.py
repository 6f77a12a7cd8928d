"""Metrics of models next to their baselines, as numbers and as tables.

Most names are loaded on first use: tables need no torch.

from lightning_colorize.evaluation import evaluate
from lightning_colorize.inference import load_model

evaluate(load_model("runs/unet/first"), "photos").rows["model"]["psnr"]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_colorize.evaluation.table import metrics_table, print_plain

if TYPE_CHECKING:
    from lightning_colorize.evaluation.data import EvaluationImages, count_trained, find_images
    from lightning_colorize.evaluation.evaluator import Evaluation, evaluate, evaluate_batches
    from lightning_colorize.evaluation.report import print_result

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

_MODULES = dict.fromkeys(("EvaluationImages", "count_trained", "find_images"), "data")
_MODULES |= dict.fromkeys(("Evaluation", "evaluate", "evaluate_batches"), "evaluator")
_MODULES |= {"print_result": "report"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
