"""From a checkpoint to images: loading, colouring files at full resolution."""

from lightning_colorize.inference.checkpoint import LoadedTask, load_task
from lightning_colorize.inference.colorize import Record, colorize_files, open_manifest
from lightning_colorize.inference.device import choose_device
from lightning_colorize.inference.jobs import Job, plan_jobs
from lightning_colorize.inference.training_data import TrainingData, training_data

__all__ = [
    "Job",
    "LoadedTask",
    "Record",
    "TrainingData",
    "choose_device",
    "colorize_files",
    "load_task",
    "open_manifest",
    "plan_jobs",
    "training_data",
]
