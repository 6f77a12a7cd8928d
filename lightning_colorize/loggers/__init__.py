"""Weights & Biases, TensorBoard, CSV and pictures on disk, set up alike for every run."""

from lightning_colorize.loggers.base import BestPicture, Picture, RunLogger
from lightning_colorize.loggers.build import (
    build_loggers,
    close_loggers,
    describe_loggers,
    log_best_pictures,
    log_config,
    log_pictures,
)
from lightning_colorize.loggers.options import LoggerOptions

__all__ = [
    "BestPicture",
    "LoggerOptions",
    "Picture",
    "RunLogger",
    "build_loggers",
    "close_loggers",
    "describe_loggers",
    "log_best_pictures",
    "log_config",
    "log_pictures",
]
