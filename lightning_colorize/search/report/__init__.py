"""The report of a sweep: one HTML file without an address outside."""

from lightning_colorize.search.report.page import write_report
from lightning_colorize.search.report.pictures import Photograph, best_trials

__all__ = ["Photograph", "best_trials", "write_report"]
