"""LightningModules: they wire networks, losses and metrics."""

from lightning_colorize.tasks.base import ColorizationTask, ColorizedImages
from lightning_colorize.tasks.cgan import CGANTask
from lightning_colorize.tasks.distillation import Distillation
from lightning_colorize.tasks.generative import GenerativeTask
from lightning_colorize.tasks.optimization import StepMilestones, WarmupCosine
from lightning_colorize.tasks.regression import RegressionTask

__all__ = [
    "CGANTask",
    "ColorizationTask",
    "ColorizedImages",
    "Distillation",
    "GenerativeTask",
    "RegressionTask",
    "StepMilestones",
    "WarmupCosine",
]
