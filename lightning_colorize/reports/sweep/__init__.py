"""The report of a sweep: one self-contained HTML file."""

from lightning_colorize.reports.sweep.images import best_trials
from lightning_colorize.reports.sweep.page import write_report

__all__ = ["best_trials", "write_report"]
