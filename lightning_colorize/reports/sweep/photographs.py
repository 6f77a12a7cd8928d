"""The same validation images as each of the best trials coloured them."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from lightning_colorize.reports.sweep import Photograph
    from lightning_colorize.sweeps.status import TrialRow


class _Row(NamedTuple):
    """What a run keeps of an image in its best epoch."""

    grey: str
    colored: str
    truth: str
    ciede2000: str


def photographs(trials: Sequence["TrialRow"], count: int) -> list["Photograph"]:
    """Return the images that the first trial has, and what the others made of them.

    Args:
        trials: The best.
        count: How many images at most, from all over those that there are.
    """
    from lightning_colorize.reports.sweep import Photograph

    kept = {trial.number: _rows(trial.folder) for trial in trials}
    first = next(filter(None, kept.values()), {})
    names = list(first)[:: max(1, len(first) // count)][:count] if count else []
    found = []
    for name in names:
        rows = {number: rows[name] for number, rows in kept.items() if name in rows}
        found.append(
            Photograph(
                name,
                grey=first[name].grey,
                truth=first[name].truth,
                colored={number: row.colored for number, row in rows.items()},
                notes={number: f"ΔE {row.ciede2000}" for number, row in rows.items()},
            )
        )
    return found


def _rows(folder: Path) -> dict[str, _Row]:
    """Return a run's images by their names; none where it keeps none."""
    from lightning_colorize.training.loggers.image_files import read_best_images

    rows = {}
    for image in read_best_images(folder):
        grey, colored, truth = map(_uri, np.split(image.row, 3, axis=1))
        rows[image.name] = _Row(grey, colored, truth, f"{image.ciede2000:.1f}")
    return rows


def _uri(tile: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(tile).save(data, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
