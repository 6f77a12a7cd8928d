"""From a checkpoint to images, for one image in Python and for folders of files.

from lightning_colorize.inference import load_model

model = load_model("runs/unet/first")
model.colorize(PIL.Image.open("old.jpg")).save("new.png")
"""

from lightning_colorize.inference.colorize import Options, Record, colorize_files, open_manifest
from lightning_colorize.inference.colorizer import (
    Colorizer,
    choose_device,
    load_model,
)
from lightning_colorize.inference.film import FilmProgress, colorize_film
from lightning_colorize.inference.jobs import Job, Plan, plan_jobs, require_other_files
from lightning_colorize.inference.training_data import TrainingData, training_data
from lightning_colorize.tasks.prediction import colorize_image

__all__ = [
    "Colorizer",
    "FilmProgress",
    "Job",
    "Options",
    "Plan",
    "Record",
    "TrainingData",
    "choose_device",
    "colorize_files",
    "colorize_film",
    "colorize_image",
    "load_model",
    "open_manifest",
    "plan_jobs",
    "require_other_files",
    "training_data",
]
