"""Colourisers beside each other: one page with pictures and numbers, and a study with people."""

from lightning_colorize.evaluation.comparison.choice import (
    choose_pictures,
    colorless,
    find_truth,
    trained_on,
)
from lightning_colorize.evaluation.comparison.compare import (
    INDEX,
    Plan,
    default_size,
    remarks,
    write_comparison,
)
from lightning_colorize.evaluation.comparison.report import Report
from lightning_colorize.evaluation.comparison.study import STUDY, write_study
from lightning_colorize.evaluation.comparison.systems import System, open_systems

__all__ = [
    "INDEX",
    "STUDY",
    "Plan",
    "Report",
    "System",
    "choose_pictures",
    "colorless",
    "default_size",
    "find_truth",
    "open_systems",
    "remarks",
    "trained_on",
    "write_comparison",
    "write_study",
]
