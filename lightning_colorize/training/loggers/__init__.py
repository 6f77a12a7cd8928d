"""Weights & Biases, TensorBoard, CSV and images on disk, set up alike for every run."""

from lightning_colorize.training.loggers.build import (
    build_loggers,
    close_loggers,
    describe_loggers,
    log_config,
    log_images,
)

__all__ = ["build_loggers", "close_loggers", "describe_loggers", "log_config", "log_images"]
