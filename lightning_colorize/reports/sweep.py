"""The page of a sweep: what optuna-dashboard lacks, in one self-contained HTML file."""

import shlex
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lightning_colorize.common.arguments import COMMAND, PROGRAM
from lightning_colorize.common.files import require_writable, write_atomic
from lightning_colorize.common.text import format_time
from lightning_colorize.evaluation.report import color_command
from lightning_colorize.evaluation.table import Cell, Column, Row, Table, make_row
from lightning_colorize.metrics.spec import BASELINES, CONFIDENCE
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.kit.images import Strip, Tile, thumbnail
from lightning_colorize.runs.folder import CONFIG
from lightning_colorize.runs.images import read_best_images
from lightning_colorize.sweeps.labels import Labels
from lightning_colorize.sweeps.spec import Sweep
from lightning_colorize.sweeps.status import (
    SEED,
    LeaderboardEntry,
    TrialRow,
    format_value,
    leaderboard,
    read_baselines,
    remarks,
    rows,
)
from lightning_colorize.sweeps.study import Study

REPORT = "report.html"
"""Name of the file in a sweep's folder."""

_BEST = 5
_PIXELS = 256**2


def write_report(study: Study, images: int = 6) -> Path:
    """Write `report.html` for the present state of a study, with some validation images.

    An existing report is replaced.
    """
    path = study.folder / REPORT
    require_writable(path, "the report")
    page = _context(study, images)
    html = render("sweep.html.jinja", "kit.css", "kit.js", page=page, study=study)
    write_atomic(path, html)
    return path


def dashboard_command(study: Study) -> str:
    """Return the command line that opens the charts of a study, ready to copy."""
    command = COMMAND if find_spec("optuna_dashboard") else f"uv run --extra cluster {PROGRAM}"
    return f"{command} {shlex.join(['dashboard', '--study', study.shown])}"


def _context(study: Study, images: int) -> dict[str, Any]:
    sweep, trials = study.sweep, rows(study)
    ranking = leaderboard(trials, sweep.mode)
    best = [entry.trials[0] for entry in ranking[:_BEST]]
    strips = image_strips(best, images)
    labels = Labels(sweep)
    page: dict[str, Any] = {
        "title": f"Sweep {sweep.name}",
        "count": len(trials),
        "states": Counter(row.state for row in trials),
        "time": format_time(sum(row.seconds or 0.0 for row in trials)),
        "confidence": f"{100 * CONFIDENCE:g}",
        "results": None,
        "remarks": remarks(trials, sweep),
        "winner": None,
        "images": strips,
        "legend": {
            f"trial {row.number}": f"{labels.changes(row.values)}: {format_value(row.value)}"
            for row in best
        },
        "dashboard": dashboard_command(study),
        "columns": max((len(strip.tiles) for strip in strips), default=1),
    }
    if sweep.metric is not None and ranking:
        baselines = read_baselines(ranking[0], sweep.metric)
        page["results"] = _table(ranking, baselines, sweep)
        folder = best[0].folder
        page["winner"] = {
            "number": best[0].number,
            "value": format_value(best[0].value),
            "seeds": len(ranking[0].trials),
            "again": f"{COMMAND} fit --config {shlex.quote(str(folder / CONFIG))}",
            "color": color_command(folder),
        }
    return page


def _table(ranking: Sequence[LeaderboardEntry], baselines: dict[str, float], sweep: Sweep) -> Table:
    """Return the configurations, best first, above the baselines."""
    assert sweep.metric is not None
    labels = Labels(sweep)
    varied = {name: short for name, short in labels.names.items() if name != SEED}
    columns = [
        Column("rank"),
        Column(sweep.metric.name, goal=sweep.metric.mode),
        *(Column("spread"), Column(f"{100 * CONFIDENCE:g} % interval"), Column("n")),
        *(Column(short, name, text=True) for name, short in varied.items()),
        *(Column("trial"), Column("time")),
    ]

    def row(rank: int, entry: LeaderboardEntry) -> Row:
        is_single = entry.spread is None
        ends = f"[{format_value(entry.low)}, {format_value(entry.high)}]"
        missing = [f"{len(entry.missing)} missing"] if entry.missing else []
        return make_row(
            str(rank),
            Cell(format_value(entry.value), kind="best" if rank == 1 else ""),
            "" if is_single else f"{entry.spread:#.2g}",
            "" if is_single else ends,
            Cell(str(len(entry.trials)), missing),
            *(Cell(labels.value(entry.values[name]), kind="text") for name in varied),
            Cell(", ".join(str(trial.number) for trial in entry.trials), kind="wrap"),
            format_time(sum(trial.seconds or 0.0 for trial in entry.trials)),
            kind="first" if rank == 1 else "",
        )

    body = [row(rank, entry) for rank, entry in enumerate(ranking, start=1)]
    foot = [
        make_row(
            name,
            format_value(value),
            Cell(f"baseline: {BASELINES.get(name, '')}", kind="text", span=len(columns) - 2),
        )
        for name, value in baselines.items()
    ]
    return Table("Leaderboard", columns, body, foot)


def image_strips(trials: Sequence[TrialRow], count: int) -> list[Strip]:
    """Return grey, each trial's colors and the truth of validation images.

    The images are spread over those that the best trial's run stored in its best epoch; trials
    without an image are left out of its strip.
    """
    stored = {
        trial.number: {image.name: image for image in read_best_images(trial.folder)}
        for trial in trials
    }
    first = next(filter(None, stored.values()), {})
    strips = []
    for name in list(first)[:: max(1, len(first) // max(1, count))][:count]:
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
