"""`lightning-colorize evaluate`: the metrics of a checkpoint beside its baselines."""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.commands.evaluate_grid import (
    add_grid_options,
    check_grid_options,
    run_grid,
)
from lightning_colorize.commands.evaluate_protocol import add_protocol_option, run_protocol
from lightning_colorize.common.arguments import (
    add_checkpoint,
    add_measuring_options,
    decoding_options,
    expanded_path,
    require_positive,
)
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable, write_json
from lightning_colorize.common.provenance import versions

if TYPE_CHECKING:
    from rich.console import Console

    from lightning_colorize.evaluation import Evaluation, EvaluationImages
    from lightning_colorize.evaluation.data import SplitName
    from lightning_colorize.inference import Colorizer, TrainingData
    from lightning_colorize.metrics.spec import Metric

HELP = "measure a checkpoint beside its baselines, optionally per folder, hue or chroma"

_PARTS = ("folder", "hue", "chroma")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_checkpoint(parser, "checkpoint")
    parser.add_argument(
        "--group-by",
        metavar="PARTS",
        type=_parts,
        help="also measure parts, separated by commas: folder for each sub-folder (category), hue "
        "and chroma for the pixels of each range of the true color",
    )
    add_protocol_option(parser)
    add_grid_options(parser)
    add_measuring_options(
        parser,
        "split of the folder: as in training if the checkpoint was trained on it, else as fit "
        "would split it (default: test if it was trained on or contains train/, else all)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns 1 if images could not be read, or predictions are not finite."""
    require_positive(args, "size", "batch_size")
    if args.json is not None:
        require_writable(args.json, "--json")
    check_grid_options(args)
    if args.protocol is not None:
        return run_protocol(args)
    if args.metric:
        raise UsageError(f"--metric {args.metric[0]} needs --protocol NAME")
    from rich.console import Console

    from lightning_colorize.evaluation import evaluate, find_images
    from lightning_colorize.evaluation.measure import MODEL
    from lightning_colorize.inference import choose_device, load_model, training_data

    device = choose_device(args.device)
    loaded = load_model(args.checkpoint, args.allow_class, device)
    loaded.set_decoding(**decoding_options(args))
    trained = training_data(loaded.path)
    own = trained is not None and trained.is_of(args.data)
    source = trained.source(args.allow_class) if trained is not None and own else None
    default: SplitName = "test" if args.grid is None else "val"
    found = find_images(args.data, args.split, source, default)
    remarks = _remarks(args, loaded, trained, found)
    if args.grid is not None:
        print(*remarks, sep="\n", end="\n" * bool(remarks), file=sys.stderr)
        return run_grid(args, loaded, found)
    size, parts = args.size or loaded.size, args.group_by or ()
    start = time.perf_counter()
    result = evaluate(
        loaded,
        found,
        size=size,
        batch_size=args.batch_size,
        by_folder="folder" in parts,
        show_progress=True,
    )
    seconds = time.perf_counter() - start
    if not result.images:
        raise UsageError(f"none of {len(found.images)} images in {args.data} can be read")
    numbers = {
        "checkpoint": str(loaded.path),
        "data": str(args.data),
        "split": found.split,
        "size": size,
        "images": result.images,
        "unreadable": len(found.images) - result.images,
        "metrics": result.rows,
        "colors": asdict(result.colors),
        "hue": [asdict(part) for part in result.hue],
        "chroma": [asdict(part) for part in result.chroma],
        "groups": {
            name: {
                "images": result.counts[name],
                "metrics": rows,
                "colors": asdict(result.group_colors[name]),
            }
            for name, rows in result.groups.items()
        },
        "seconds": seconds,
        "device": str(device),
        "versions": versions(),
    }
    console = Console()
    _print(console, result, loaded.task.metric_rows, parts)
    unread = len(found.images) - result.images
    more = f"; {unread:,} could not be read" if unread else ""
    described = f"{found.describe(result.images, args.data, size)}, in {seconds:.1f} s{more}"
    console.print(described, markup=False, highlight=False, soft_wrap=True)
    print(*remarks, sep="\n", end="\n" * bool(remarks), file=sys.stderr)
    diverged = not math.isfinite(result.rows[MODEL]["mse_ab"])
    if diverged:
        print("the network predicts colors that are not finite: no metrics", file=sys.stderr)
    if args.json is not None:
        write_json(args.json, numbers)
    return 1 if diverged or numbers["unreadable"] else 0


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(text.split(",")))
    for part in parts:
        if part not in _PARTS:
            raise argparse.ArgumentTypeError(f"{part!r} is none of {', '.join(_PARTS)}")
    return parts


def _print(
    console: "Console",
    result: "Evaluation",
    metrics: "Sequence[Metric]",
    parts: Sequence[str],
) -> None:
    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.evaluation.table import color_line, parts_table

    for name, rows in result.groups.items():
        title = f"{name} ({result.counts[name]})"
        print_plain(console, metrics_table(rows, title, metrics))
        print(color_line(result.group_colors[name]))
    print_plain(console, metrics_table(result.rows, "all" if result.groups else None, metrics))
    print(color_line(result.colors))
    for by in parts:
        if by != "folder":
            print_plain(console, parts_table(getattr(result, by), by))


def _remarks(
    args: argparse.Namespace,
    loaded: "Colorizer",
    trained: "TrainingData | None",
    found: "EvaluationImages",
) -> list[str]:
    """Return warnings about the numbers: training images among them, missing baselines."""
    from lightning_colorize.evaluation import count_trained
    from lightning_colorize.tasks.exported import EXPORTED

    lines = []
    if trained is None and loaded.path.suffix in EXPORTED:
        lines.append("an exported model does not name its training data, which may be among these")
    elif trained is None:
        root = None if loaded.data_root is None else expanded_path(loaded.data_root)
        if root is not None and _overlap(root.resolve(), args.data.resolve()):
            split = "" if found.split == "all" else "this is fit's default split, and "
            lines.append(
                f"{loaded.path} is in no run folder, so the split of {root} is unknown: "
                f"{split}some of these images may have been trained on"
            )
    elif found.split != "train" and (
        count := count_trained(found.images, trained, args.allow_class)
    ):
        hint = "; --split test takes none of them" if trained.is_of(args.data) else ""
        lines.append(f"{count:,} of these {len(found.images):,} were trained on{hint}")
    if loaded.baselines is None:
        lines.append("the checkpoint has no baselines, so the table has no rows of them")
    return lines


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
