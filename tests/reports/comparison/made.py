"""Made comparisons: numbers and small random thumbnails, without a network."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from lightning_colorize.evaluation.evaluator import Results
from lightning_colorize.evaluation.failures import FAILURES
from lightning_colorize.metrics.spec import COLUMNS
from lightning_colorize.reports.comparison.collector import SHEETS, THUMBNAILS, ComparedImage
from lightning_colorize.reports.comparison.page import ERRORS, write_errors
from lightning_colorize.reports.comparison.report import Report
from lightning_colorize.reports.kit.images import write_thumbnails

SYSTEMS = ["first", "second & <b>"]
CATEGORIES = ["birds", "cats", "dogs", "people"]


def make_measured(systems, names, baselines=(), *, truth=True):
    """Return random numbers of images; some failures are not finite."""
    random = np.random.default_rng(0)
    count = len(names)
    measured = Results(systems, [*baselines], names, disagreement=random.random(count))
    if truth:
        rows = len(systems) + len(baselines)
        measured.values = random.uniform(1, 30, size=(rows, len(COLUMNS), count))
        limits = np.array([[failure.threshold] for failure in FAILURES])
        shape = (len(systems), len(FAILURES), count)
        measured.failures = limits * random.uniform(0, 1.1, size=shape)
        measured.failures[:, 0, ::7] = np.nan
    return measured


def write_made_errors(folder, count, *, truth=True):
    """Write the error page of so many images; return its path and the numbers."""
    names = [f"{CATEGORIES[i % 4]}/{i:05d}.jpg" for i in range(count)]
    measured = make_measured(SYSTEMS, names, truth=truth)
    if truth:
        measured.values[1, ..., 3] = np.nan
    for name in (SHEETS, THUMBNAILS):
        (folder / name).mkdir()
    noise = [Image.effect_noise((96 + 8 * i, 128), 90).convert("RGB") for i in range(4)]
    images, sizes = [], []
    for i, name in enumerate(names):
        file = f"{i:05d}.jpg"
        if i < 4:
            sizes.append(write_thumbnails(folder / THUMBNAILS / file, [noise[i]] * (3 + truth)))
        else:
            (folder / THUMBNAILS / file).hardlink_to(folder / THUMBNAILS / f"{i % 4:05d}.jpg")
        if i < 50:
            noise[i % 4].save(folder / SHEETS / file)
        apart = float(measured.disagreement[i])
        images.append(ComparedImage(name, CATEGORIES[i % 4], file, sizes[i % 4], [], apart))
    model = SimpleNamespace(kind="best.ckpt")
    systems = [SimpleNamespace(name=name, path=Path("runs"), model=model) for name in SYSTEMS]
    plan = SimpleNamespace(out=folder, systems=systems, data=Path("images"), size=64, truth=truth)
    write_errors(plan, Report(measured, [], []), images)
    return folder / ERRORS, measured
