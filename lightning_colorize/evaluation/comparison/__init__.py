"""Colourisers beside each other: one page with pictures and numbers, and a study with people."""

from lightning_colorize.evaluation.comparison.choice import choose_pictures, colorless
from lightning_colorize.evaluation.comparison.compare import (
    INDEX,
    Plan,
    default_size,
    warnings,
    write_comparison,
)
from lightning_colorize.evaluation.comparison.page import Report
from lightning_colorize.evaluation.comparison.statistics import METRICS
from lightning_colorize.evaluation.comparison.study import STUDY, write_study
from lightning_colorize.evaluation.comparison.systems import System, open_systems

__all__ = [
    "INDEX",
    "METRICS",
    "STUDY",
    "Plan",
    "Report",
    "System",
    "choose_pictures",
    "colorless",
    "default_size",
    "open_systems",
    "warnings",
    "write_comparison",
    "write_study",
]
