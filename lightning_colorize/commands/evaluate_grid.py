"""`lightning-colorize evaluate --grid`: a checkpoint with many settings of its decoding."""

import argparse
import math
import sys
import time
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable, write_json
from lightning_colorize.common.provenance import versions

if TYPE_CHECKING:
    from lightning_colorize.evaluation import EvaluationImages
    from lightning_colorize.evaluation.grid import Grid
    from lightning_colorize.inference import Colorizer


def add_grid_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a grid."""
    parser.add_argument(
        "--grid",
        metavar="KEY=VALUES",
        nargs="+",
        help="measure all combinations of vividness=0,0.5,1 temperature=..., strength=..., "
        "size=... (seen by the network) and flip=0,1; by default on the validation images",
    )
    parser.add_argument(
        "--store",
        metavar="RATIO",
        type=float,
        help="store the best setting of the grid in the checkpoint, as its default: the lowest "
        "ciede2000 of those with at least this colorfulness_ratio",
    )
    parser.add_argument(
        "--page",
        metavar="FILE",
        type=expanded_path,
        help="write an HTML page with a chart and a table of the grid",
    )


def check_grid_options(args: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: If there are any.
    """
    if args.grid is None:
        for name in ("store", "page"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name} needs --grid")
        return
    if args.group_by is not None:
        raise UsageError("--grid and --group-by: choose one of them")
    if args.store is not None and not 0 <= args.store < math.inf:
        raise UsageError(f"--store {args.store}: it must be 0 or more")
    if args.page is not None:
        require_writable(args.page, "--page")


def run_grid(
    args: argparse.Namespace,
    loaded: "Colorizer",
    found: "EvaluationImages",
) -> int:
    """Measure and print the settings that no other one beats.

    Returns:
        1 if images could not be read, or a setting's predictions are not finite.
    """
    from rich.console import Console

    from lightning_colorize.common.progress import progress
    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.evaluation.choice import colorless
    from lightning_colorize.evaluation.grid import evaluate_grid, parse_grid
    from lightning_colorize.inference.stored import require_storable, store_decoding
    from lightning_colorize.reports.grid import describe_setting, write_grid_page

    settings = parse_grid(args.grid, loaded)
    largest = max(int(setting.get("size", 0)) for setting in settings)
    size = args.size or max(loaded.size, largest)
    if largest > size:
        raise UsageError(f"--grid size={largest} enlarges images of --size {size}")
    if args.store is not None:
        require_storable(loaded.path)
        if colorless(found.images):
            raise UsageError("--store needs images in color")
    start = time.perf_counter()
    batches = found.batches(size, args.batch_size, loaded.task.device)
    steps = -(-len(found.images) // args.batch_size)
    grid = evaluate_grid(loaded, progress(batches, steps, "evaluating"), settings)
    if not grid.images:
        raise UsageError(f"none of {len(found.images)} images in {args.data} can be read")
    front = grid.front()
    shown = {describe_setting(grid.settings[i]): grid.rows[i] for i in front}
    print_plain(Console(), metrics_table({**shown, **grid.baselines}))
    described = found.describe(grid.images, args.data, size)
    unread = len(found.images) - grid.images
    more = f"; {unread:,} could not be read" if unread else ""
    beaten = len(settings) - len(front)
    hidden = f", {beaten} beaten by another" if beaten else ""
    print(f"{described}: {len(settings)} settings{hidden}{more}")
    diverged = not all(math.isfinite(row["mse_ab"]) for row in grid.rows)
    if diverged:
        print("the network predicts colors that are not finite", file=sys.stderr)
    if args.json is not None:
        numbers = {
            "checkpoint": str(loaded.path),
            "data": str(args.data),
            "split": found.split,
            "size": size,
            "images": grid.images,
            "unreadable": unread,
            **_measured(loaded, grid),
            "seconds": time.perf_counter() - start,
            "device": str(loaded.task.device),
            "versions": versions(),
        }
        write_json(args.json, numbers)
    if args.page is not None:
        write_grid_page(args.page, grid, f"Settings of {loaded.path}", described)
        print(args.page)
    if args.store is not None:
        best = {**loaded.decoding, "size": size, **grid.settings[grid.best(args.store)]}
        store_decoding(loaded.path, best)
        print(f"stored in {loaded.path}: {describe_setting(best)}")
    return 1 if unread or diverged else 0


def _measured(loaded: "Colorizer", grid: "Grid") -> dict[str, Any]:
    """Return the metrics of all settings, which are written out whole, and of the baselines."""
    from lightning_colorize.evaluation.statistics import intervals

    rows = intervals(grid.values)
    return {
        "settings": [
            {"setting": loaded.decoding | setting, "metrics": row}
            for setting, row in zip(grid.settings, rows, strict=False)
        ],
        "baselines": dict(zip(grid.baselines, rows[len(grid.settings) :], strict=True)),
    }
