"""The comparison page: systems side by side, with images, metrics and intervals."""

from lightning_colorize.reports.comparison.collector import Plan, default_size
from lightning_colorize.reports.comparison.page import ERRORS, INDEX, remarks, write_comparison
from lightning_colorize.reports.comparison.report import Report

__all__ = ["ERRORS", "INDEX", "Plan", "Report", "default_size", "remarks", "write_comparison"]
