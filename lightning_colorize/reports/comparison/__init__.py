"""Colourisers beside each other: one page with images and numbers, and a study with people."""

from lightning_colorize.evaluation.choice import (
    choose_images,
    colorless,
    find_truth,
    trained_on,
)
from lightning_colorize.evaluation.systems import System, open_systems
from lightning_colorize.reports.comparison.compare import (
    INDEX,
    Plan,
    default_size,
    remarks,
    write_comparison,
)
from lightning_colorize.reports.comparison.report import Report

__all__ = [
    "INDEX",
    "Plan",
    "Report",
    "System",
    "choose_images",
    "colorless",
    "default_size",
    "find_truth",
    "open_systems",
    "remarks",
    "trained_on",
    "write_comparison",
]
