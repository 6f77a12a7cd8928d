"""Writes the report of a sweep."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from lightning_colorize.common.files import require_writable, write_atomic
from lightning_colorize.metrics.spec import CONFIDENCE
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.kit.thumbnails import Strip, Tile, thumbnail
from lightning_colorize.reports.sweep.tables import SweepTables
from lightning_colorize.runs.folder import CONFIG
from lightning_colorize.runs.images import read_best_images
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.sweeps.status import (
    Labels,
    TrialRow,
    format_value,
    leaderboard,
    not_beaten,
    read_baselines,
    rows,
)
from lightning_colorize.sweeps.study import Study
from lightning_colorize.sweeps.trial import expand

REPORT = "report.html"
"""Name of the file in a sweep's folder."""

_BEST = 5
_PIXELS = 256**2


def write_report(study: Study, images: int = 0) -> Path:
    """Write the report of a study in its present state; an existing report is replaced.

    Args:
        study: The study.
        images: Number of validation images on the page.

    Returns:
        The file, `report.html` in the sweep's folder.

    Raises:
        UsageError: If the file cannot be written.
    """
    path = study.folder / REPORT
    require_writable(path, "the report")
    page = _context(study, images)
    write_atomic(path, render("sweep.html.jinja", "kit.css", "kit.js", page=page))
    return path


def dashboard_command(study: Study) -> str:
    """Return the command line that opens the charts of a study, ready to copy."""
    return shlex.join(["lightning-colorize", "dashboard", "--study", study.shown])


def _context(study: Study, images: int) -> dict[str, Any]:
    sweep, table = study.sweep, rows(study)
    metric, labels = sweep.metric, Labels(sweep)
    tables = SweepTables(table, labels, metric)
    ranking = leaderboard(table, sweep.mode)
    page: dict[str, Any] = {
        "title": f"Sweep {sweep.name}",
        "count": len(table),
        "states": {state: len(rows) for state, rows in tables.by_state.items()},
        "method": sweep.method,
        "metric": metric,
        "confidence": f"{100 * CONFIDENCE:g}",
        "ranking": ranking,
        "results": tables.finished() if metric is None else None,
        "images": [],
        "winner": None,
        "others": tables.others(),
        "budgets": tables.budgets(),
        "file": yaml.safe_dump(sweep.source, sort_keys=False, allow_unicode=True),
        "made_with": tables.made_with(),
        "seed": study.seed,
        "storage": study.shown,
        "dashboard": dashboard_command(study),
    }
    if metric is not None and ranking:
        baselines = read_baselines(ranking[0], metric)
        page["results"] = tables.leaderboard(ranking, baselines)
        page["not_beaten"] = not_beaten(ranking[0], metric, baselines)
        page["winner"] = _winner(study, ranking[0].trials[0])
        trials = [entry.trials[0] for entry in ranking[:_BEST]]
        page["images"] = image_strips(trials, images)
        shown = {tile.who for strip in page["images"] for tile in strip.tiles}
        page["legend"] = {
            who: f"{labels.changes(row.values)}: {format_value(row.value)}"
            for row in trials
            if (who := f"trial {row.number}") in shown
        }
    page["columns"] = max((len(strip.tiles) for strip in page["images"]), default=1)
    return page


def _winner(study: Study, row: TrialRow) -> dict[str, Any]:
    words = expand(study.sweep, row.values)
    if words[0] == "/usr/bin/env":
        del words[0]
    # The path of this machine's interpreter is useless elsewhere.
    here = Path(sys.executable).parent
    words = [Path(word).name if Path(word).parent == here else word for word in words]
    return {
        "number": row.number,
        "value": format_value(row.value),
        "folder": str(row.folder),
        "command": shlex.join(words),
        "again": shlex.join(["lightning-colorize", "fit", "--config", str(row.folder / CONFIG)]),
        "configuration": RunRecord(row.folder).config_text,
    }


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
