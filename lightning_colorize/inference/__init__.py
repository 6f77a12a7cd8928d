"""Colorization with a checkpoint, of single images in Python and of folders of files.

from lightning_colorize.inference import load_model

model = load_model("runs/unet/first")
model.colorize(PIL.Image.open("old.jpg")).save("new.png")
"""

from lightning_colorize.inference.colorize import Options, Record, colorize_files
from lightning_colorize.inference.colorizer import Colorizer, load_model
from lightning_colorize.inference.film import colorize_film
from lightning_colorize.inference.jobs import Job, JobPlan, plan_jobs, require_other_files
from lightning_colorize.inference.motion import FilmProgress
from lightning_colorize.inference.training_data import TrainingData, training_data
from lightning_colorize.models.image import colorize_image
from lightning_colorize.models.load import choose_device

__all__ = [
    "Colorizer",
    "FilmProgress",
    "Job",
    "JobPlan",
    "Options",
    "Record",
    "TrainingData",
    "choose_device",
    "colorize_files",
    "colorize_film",
    "colorize_image",
    "load_model",
    "plan_jobs",
    "require_other_files",
    "training_data",
]
