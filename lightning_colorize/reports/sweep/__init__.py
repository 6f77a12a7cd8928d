"""The report of a sweep: one HTML file without an address outside."""

from lightning_colorize.reports.sweep.images import Photograph, best_trials
from lightning_colorize.reports.sweep.page import write_report

__all__ = ["Photograph", "best_trials", "write_report"]
