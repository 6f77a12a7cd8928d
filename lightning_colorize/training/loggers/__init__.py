"""Weights & Biases, TensorBoard, CSV and images on disk, set up alike for every run."""

from lightning_colorize.training.loggers.base import ImageArray, RunLogger
from lightning_colorize.training.loggers.build import (
    build_loggers,
    close_loggers,
    describe_loggers,
    log_config,
    log_images,
)
from lightning_colorize.training.options import LoggerOptions

__all__ = [
    "ImageArray",
    "LoggerOptions",
    "RunLogger",
    "build_loggers",
    "close_loggers",
    "describe_loggers",
    "log_config",
    "log_images",
]
