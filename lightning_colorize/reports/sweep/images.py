"""The validation images of a sweep's best trials, side by side."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from lightning_colorize.reports.kit.images import Strip, Tile, thumbnail
from lightning_colorize.runs.images import read_best_images
from lightning_colorize.sweeps.status import TrialRow, leaderboard, rows
from lightning_colorize.sweeps.study import Study

_BEST = 5
_PIXELS = 256**2


def best_trials(study: Study) -> list[TrialRow]:
    """Return the best trial of each of the best configurations; none without a metric."""
    return [entry.trials[0] for entry in leaderboard(rows(study), study.sweep.mode)[:_BEST]]


def image_strips(trials: Sequence[TrialRow], count: int) -> list[Strip]:
    """Return grey, each trial's colors and the truth of validation images.

    The images are spread over those that the best trial's run stored in its best epoch; trials
    without an image are left out of its strip.
    """
    if not count:
        return []
    stored = {
        trial.number: {image.name: image for image in read_best_images(trial.folder)}
        for trial in trials
    }
    first = next(filter(None, stored.values()), {})
    strips = []
    for name in list(first)[:: max(1, len(first) // count)][:count]:
        grey, _, truth = np.split(first[name].row, 3, axis=1)
        tiles = [_tile(grey, "grey")]
        for number, images in stored.items():
            if name in images:
                _, colored, _ = np.split(images[name].row, 3, axis=1)
                note = f"ΔE {images[name].ciede2000:.1f}"
                tiles.append(_tile(colored, f"trial {number}", note))
        strips.append(Strip(name, [*tiles, _tile(truth, "truth")]))
    return strips


def _tile(rgb: np.ndarray, who: str, note: str = "") -> Tile:
    return Tile(thumbnail(Image.fromarray(rgb), _PIXELS), who, note)
