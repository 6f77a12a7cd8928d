"""Benchmarks, for `lightning-colorize bench` and the scripts of `benchmarks/`."""

from lightning_colorize.benchmarking.environment import environment, write_report
from lightning_colorize.benchmarking.images import write_images
from lightning_colorize.benchmarking.timing import Timing, measure, summary, synchronize
from lightning_colorize.benchmarking.training import BareTraining, small_task

__all__ = [
    "BareTraining",
    "Timing",
    "environment",
    "measure",
    "small_task",
    "summary",
    "synchronize",
    "write_images",
    "write_report",
]
