"""`lightning-colorize tune-decoding`: measures settings of a checkpoint, and stores the best."""

import argparse
import math
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_colorize.commands.evaluate import Measurement
from lightning_colorize.commands.options import add_checkpoint, add_measuring_options
from lightning_colorize.common.arguments import Parser, number
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable
from lightning_colorize.runs.artifacts import is_artifact

if TYPE_CHECKING:
    from lightning_colorize.evaluation.grid import Grid
    from lightning_colorize.models.base import Model

HELP = "measure many decoding settings of a checkpoint, and store the best"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    add_checkpoint(parser, "checkpoint")
    parser.add_argument(
        "grid",
        metavar="NAME=VALUES",
        nargs="+",
        help="measure all combinations of vividness=0,0.5,1 temperature=..., strength=..., "
        "flip=0,1, a model's own settings, and size=... (the network's input)",
    )
    parser.add_argument(
        "--store",
        metavar="RATIO",
        type=number(float, 0),
        help="store the best settings as the checkpoint's defaults: the lowest ciede2000 with at "
        "least this colorfulness_ratio",
    )
    parser.add_output("--page", "write an HTML page with a chart and a table of the settings")
    add_measuring_options(parser, "split of the folder, as in evaluate (default: val)")


def run(args: argparse.Namespace) -> int:
    """Measure, and print the settings that no other setting beats.

    Return 1 if images are unreadable, or a setting's predictions are not finite.
    """
    if args.store is not None and is_artifact(args.checkpoint):
        raise UsageError(f"--store: {args.checkpoint} cannot be changed; give a checkpoint file")
    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.evaluation.data import colorless
    from lightning_colorize.evaluation.grid import evaluate_grid, parse_grid
    from lightning_colorize.models.settings import describe_values
    from lightning_colorize.reports.grid import write_grid_page

    measured = Measurement(args, "val")
    model, found = measured.model, measured.found
    settings = parse_grid(args.grid, model)
    largest = max(int(setting.get("size", 0)) for setting in settings)
    size = max(model.size, largest)
    if args.size and largest > args.size:
        raise UsageError(f"size={largest} enlarges images of --size {args.size}")
    if args.store is not None:
        _storable(model)
        if colorless(found.images):
            raise UsageError("--store needs color images")
    grid = evaluate_grid(model, measured.batches(size, "evaluating"), settings)
    front = grid.front()
    shown = {describe_values(grid.settings[i]): grid.rows[i] for i in front}
    print_plain(metrics_table({**shown, **grid.baselines}))
    beaten = len(settings) - len(front)
    hidden = f", {beaten} beaten by another" if beaten else ""
    diverged = not all(math.isfinite(row["mse_ab"]) for row in grid.rows)
    more = f"; {len(settings)} settings{hidden}"
    code = measured.finish(size, grid.images, more, _as_json(model, grid), diverged)
    if args.page is not None:
        described = found.describe(grid.images, args.data, size)
        write_grid_page(args.page, grid, f"Settings of {model}", described)
        print(args.page)
    if args.store is not None:
        best = {**model.settings.values(), "size": size, **grid.settings[grid.best(args.store)]}
        store_decoding(model, best)
        print(f"stored in {model}: {describe_values(best)}")
    return code


def _as_json(model: "Model", grid: "Grid") -> dict[str, Any]:
    """Return the metrics of all settings, each with all values, and of the baselines."""
    from lightning_colorize.evaluation.statistics import intervals

    rows = intervals(grid.values)
    return {
        "settings": [
            {"setting": model.settings.values() | setting, "metrics": row}
            for setting, row in zip(grid.settings, rows, strict=False)
        ],
        "baselines": dict(zip(grid.baselines, rows[len(grid.settings) :], strict=True)),
    }


def _storable(model: "Model") -> Path:
    """Return the checkpoint of a model that is neither exported nor third-party."""
    from lightning_colorize.models.exported import EXPORTED
    from lightning_colorize.models.load import DESCRIBED

    file = model.path
    if file is None or file.suffix in (*EXPORTED, *DESCRIBED):
        raise UsageError(f"{model} is not a checkpoint; store in a checkpoint, and export again")
    require_writable(file, "--store")
    return file


def store_decoding(model: "Model", decoding: dict[str, Any]) -> None:
    """Store the settings that `load_model` applies to a checkpoint from now on."""
    from lightning_colorize.models.checkpoint import DECODING, read_checkpoint
    from lightning_colorize.runs.folder import lock, run_of
    from lightning_colorize.training.callbacks.checkpoints import AtomicCheckpointIO

    file = _storable(model).resolve()
    run = run_of(file)
    with nullcontext() if run is None else lock(run):
        checkpoint = read_checkpoint(file)
        checkpoint[DECODING] = decoding
        AtomicCheckpointIO().save_checkpoint(checkpoint, file)
