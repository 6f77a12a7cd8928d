"""The report of a sweep: what optuna-dashboard lacks, in one self-contained HTML file."""

import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.files import require_writable, write_atomic
from lightning_colorize.common.text import UNKNOWN, format_time
from lightning_colorize.evaluation.table import Cell, Column, Row, Table, format_count, make_row
from lightning_colorize.metrics.spec import BASELINES, CONFIDENCE
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.kit.thumbnails import Strip, Tile, thumbnail
from lightning_colorize.runs.folder import CONFIG
from lightning_colorize.runs.images import read_best_images
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.sweeps.spec import Sweep
from lightning_colorize.sweeps.status import (
    SEED,
    Labels,
    LeaderboardEntry,
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
_MOST_LISTED = 12


def write_report(study: Study, images: int = 6) -> Path:
    """Write `report.html` for the present state of a study, with some validation images.

    An existing report is replaced.
    """
    path = study.folder / REPORT
    require_writable(path, "the report")
    page = _context(study, images)
    write_atomic(path, render("sweep.html.jinja", "kit.css", "kit.js", page=page))
    return path


def dashboard_command(study: Study) -> str:
    """Return the command line that opens the charts of a study, ready to copy."""
    return f"{COMMAND} {shlex.join(['dashboard', '--study', study.shown])}"


def _context(study: Study, images: int) -> dict[str, Any]:
    sweep, trials = study.sweep, rows(study)
    ranking = leaderboard(trials, sweep.mode)
    page: dict[str, Any] = {
        "title": f"Sweep {sweep.name}",
        "count": len(trials),
        "states": Counter(row.state for row in trials),
        "time": format_time(sum(row.seconds or 0.0 for row in trials)),
        "method": sweep.method,
        "metric": sweep.metric,
        "confidence": f"{100 * CONFIDENCE:g}",
        "ranking": ranking,
        "results": None,
        "images": [],
        "winner": None,
        "seed": study.seed,
        "storage": study.shown,
        "dashboard": dashboard_command(study),
    }
    if sweep.metric is not None and ranking:
        best = [entry.trials[0] for entry in ranking[:_BEST]]
        baselines = read_baselines(ranking[0], sweep.metric)
        page["results"] = _table(ranking, baselines, sweep)
        page["not_beaten"] = not_beaten(ranking[0], sweep.metric, baselines)
        page["winner"] = _winner(study, best[0])
        page["images"] = image_strips(best, images)
        shown = {tile.who for strip in page["images"] for tile in strip.tiles}
        page["legend"] = {
            who: f"{Labels(sweep).changes(row.values)}: {format_value(row.value)}"
            for row in best
            if (who := f"trial {row.number}") in shown
        }
    page["columns"] = max((len(strip.tiles) for strip in page["images"]), default=1)
    return page


def _table(
    ranking: Sequence[LeaderboardEntry], baselines: Mapping[str, float], sweep: Sweep
) -> Table:
    """Return the configurations, best first, above the baselines."""
    assert sweep.metric is not None
    labels = Labels(sweep)
    are_repeated = any(len(entry.trials) + len(entry.missing) > 1 for entry in ranking)
    interval = f"{100 * CONFIDENCE:g} % interval"
    columns = [
        Column("rank"),
        Column(sweep.metric.name, goal=sweep.metric.mode),
        *([Column("spread"), Column(interval), Column("n")] if are_repeated else []),
        *(Column(labels.names[name], name, text=True) for name in labels.names if name != SEED),
        *([Column("seeds")] if SEED in labels.names else []),
        *map(Column, ("trial", "time", "images seen", "parameters")),
    ]
    body = [_row(rank, entry, labels, are_repeated) for rank, entry in enumerate(ranking, start=1)]
    foot = [
        make_row(
            name,
            format_value(value),
            Cell(f"baseline: {BASELINES.get(name, '')}", kind="text", span=len(columns) - 2),
        )
        for name, value in baselines.items()
    ]
    return Table("Leaderboard", columns, body, foot)


def _row(rank: int, entry: LeaderboardEntry, labels: Labels, are_repeated: bool) -> Row:
    cells = [Cell(str(rank)), Cell(format_value(entry.value), kind="best" if rank == 1 else "")]
    if are_repeated:
        low, high = format_value(entry.low), format_value(entry.high)
        cells += [
            Cell("" if entry.spread is None else f"{entry.spread:#.2g}"),
            Cell("" if entry.spread is None else f"[{low}, {high}]"),
            Cell(
                str(len(entry.trials)),
                [f"{len(entry.missing)} missing"] if entry.missing else [],
            ),
        ]
    cells += [
        Cell(labels.value(name, entry.values[name]), kind="text")
        for name in labels.names
        if name != SEED
    ]
    if SEED in labels.names:
        cells.append(Cell(_listed([row.values.get(SEED) for row in entry.trials]), kind="wrap"))
    repeats = [f"repeated: {_listed([row.number for row in entry.repeats])}"]
    results = [RunRecord(row.folder).result for row in entry.trials]
    known = [result.images_seen for result in results if result and result.images_seen is not None]
    at_least = "" if len(known) == len(results) else " or more"
    return make_row(
        *cells,
        Cell(
            _listed([row.number for row in entry.trials]),
            repeats if entry.repeats else [],
            kind="wrap",
        ),
        format_time(sum(row.seconds or 0.0 for row in entry.trials)),
        f"{sum(known):,}{at_least}" if known else UNKNOWN,
        format_count(results[0].parameters if results[0] else None),
        kind="first" if rank == 1 else "",
    )


def _listed(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items[:_MOST_LISTED])) + (" …" if len(items) > _MOST_LISTED else "")


def _winner(study: Study, row: TrialRow) -> dict[str, Any]:
    words = expand(study.sweep, row.values)
    if words[0] == "/usr/bin/env":
        del words[0]
    # The path of this machine's interpreter is useless elsewhere.
    here = Path(sys.executable).parent
    words = [Path(word).name if Path(word).parent == here else word for word in words]
    config = row.folder / CONFIG
    again = shlex.join(["lightning-colorize", "fit", "--config", str(config)])
    return {
        "number": row.number,
        "value": format_value(row.value),
        "folder": str(row.folder),
        "command": shlex.join(words),
        "again": again if config.is_file() else None,
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
