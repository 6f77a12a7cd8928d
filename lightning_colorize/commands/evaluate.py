"""`lightning-colorize evaluate`: measures a checkpoint next to its baselines."""

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_colorize.commands.options import add_checkpoint, add_measuring_options, add_samples
from lightning_colorize.common.arguments import Parser, number
from lightning_colorize.common.bundled import BUNDLED
from lightning_colorize.common.files import write_json
from lightning_colorize.common.provenance import versions

if TYPE_CHECKING:
    from lightning_colorize.evaluation import Evaluation, EvaluationImages
    from lightning_colorize.evaluation.data import SplitName
    from lightning_colorize.evaluation.evaluator import Intervals
    from lightning_colorize.inference import Colorizer
    from lightning_colorize.models.base import Model

HELP = "measure a checkpoint next to its baselines, optionally per folder, hue or chroma"

_PARTS = ("folder", "hue", "chroma")


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    add_checkpoint(parser, "checkpoint")
    parser.add_argument(
        "--group-by",
        metavar="PARTS",
        type=_parts,
        help="also measure parts, comma-separated: folder (each sub-folder), hue and chroma (the "
        "pixels of each range of the true color)",
    )
    add_samples(parser)
    parser.add_int("--seed", "seed of samples and hints", 0, default=0)
    text = "also give so many points of the true colors as hints, such as 1,2,5,10,20,50,100"
    parser.add_argument("--hint-points", metavar="N,N,...", type=counts, default=(), help=text)
    for name in ("palettes", "labels"):
        parser.add_flag(f"--{name}", f"also ask for each image's own and for other {name}")
    add_measuring_options(
        parser,
        "split of the folder to measure; the splits are the training run's if the checkpoint was "
        "trained on this folder, else fit's (default: test if it was trained on this folder or the "
        "folder contains train/, else all)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns 1 if images are unreadable or predictions are not finite."""
    from lightning_colorize.evaluation import evaluate
    from lightning_colorize.evaluation.conditions import measure_conditions, require_labels
    from lightning_colorize.evaluation.evaluator import MODEL
    from lightning_colorize.models.control import require_conditions

    loaded, found, remarks = open_measured(args, "test")
    model = loaded.model
    options = {"hints": args.hint_points, "palette": args.palettes, "label": args.labels}
    asked = {name for name, given in options.items() if given}
    require_conditions(model, asked)
    labels = found.labels if args.labels else None
    if labels is not None:
        require_labels(model, labels)
    size, parts = args.size or loaded.size, args.group_by or ()
    start = time.perf_counter()
    result = evaluate(
        loaded,
        found,
        size=size,
        batch_size=args.batch_size,
        by_folder="folder" in parts,
        show_progress=True,
        samples=args.samples,
        seed=args.seed,
    )
    diverged = not math.isfinite(result.rows[MODEL]["mse_ab"])
    conditions: Intervals = {}
    if asked and not diverged:
        batches = partial(found.batches, size, args.batch_size, model.device, "with conditions")
        conditions = measure_conditions(
            model, batches, args.hint_points, args.palettes, labels, args.seed
        )
    seconds = time.perf_counter() - start
    numbers = header(args, model, found, size, result.images, seconds) | {
        "samples": args.samples if model.draws else 1,
        "metrics": result.rows,
        "intervals": result.intervals,
        "conditions": conditions,
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
    }
    _print(result, parts, conditions)
    unread = numbers["unreadable"]
    more = f"; {unread:,} could not be read" if unread else ""
    described = found.describe(result.images, args.data, size)
    print(f"{described}, in {seconds:.1f} s{more}")
    if result.grey_truths:
        remarks.append(f"{result.grey_truths:,} of {result.images:,} images have no color")
    print(*remarks, sep="\n", end="\n" * bool(remarks), file=sys.stderr)
    if diverged:
        print("the network predicts colors that are not finite: no metrics", file=sys.stderr)
    if args.json is not None:
        write_json(args.json, numbers)
    return 1 if diverged or unread else 0


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(text.split(",")))
    for part in parts:
        if part not in _PARTS:
            raise argparse.ArgumentTypeError(f"{part!r} is none of {', '.join(_PARTS)}")
    return parts


def counts(text: str) -> tuple[int, ...]:
    """Return whole numbers separated by commas."""
    return tuple(map(number(int, 0, 10_000), text.split(",")))


def _print(result: "Evaluation", parts: Sequence[str], conditions: "Intervals") -> None:
    from rich.console import Console

    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.evaluation.color_ranges import ranges_table
    from lightning_colorize.evaluation.conditions import COLUMNS
    from lightning_colorize.evaluation.evaluator import MODEL
    from lightning_colorize.evaluation.table import print_metrics

    console = Console()
    for name, rows in result.groups.items():
        title = f"{name} ({result.counts[name]})"
        print_metrics(console, rows, title, result.metrics)
        print(result.group_colors[name])
    whole = "all" if result.groups else None
    print_metrics(console, result.rows, whole, result.metrics)
    print(result.colors)
    if energy := result.intervals[MODEL].get("energy"):
        print("energy {value:.2f}, 95 % interval {low:.2f} to {high:.2f}".format(**energy))
    if conditions:
        shown = {row: {k: v["value"] for k, v in each.items()} for row, each in conditions.items()}
        print_plain(console, metrics_table(shown, "asked for", COLUMNS))
    for by in parts:
        if by != "folder":
            print_plain(console, ranges_table(getattr(result, by), by))


def open_measured(
    args: argparse.Namespace, default: "SplitName"
) -> "tuple[Colorizer, EvaluationImages, list[str]]":
    """Return the model with its settings, the images to measure, and remarks on the results.

    If the model was trained on the folder, its training split is used. `default` is the default
    split of a folder with splits; `args` are those of `add_checkpoint` and `add_measuring_options`.
    """
    from lightning_colorize.evaluation import count_trained, find_images
    from lightning_colorize.inference import choose_device, load_model, training_data
    from lightning_colorize.models.exported import EXPORTED

    loaded = load_model(args.checkpoint, args.allow_class, choose_device(args.device))
    loaded.set_decoding(**args.settings)
    path = loaded.path
    trained = None if path is None else training_data(path)
    own = trained is not None and trained.is_of(args.data)
    source = trained.source(args.allow_class) if trained is not None and own else None
    found = find_images(args.data, args.split, source, default)
    lines = []
    if path is not None and path in BUNDLED.values():
        listed = path.with_name("SOURCES.csv.gz")
        lines.append(f"the training images are listed in {listed}; these may be part of them")
    elif trained is None and path is not None and path.suffix in EXPORTED:
        lines.append("an exported model does not record its training data; these may be part of it")
    elif trained is None and loaded.data_root is not None:
        root = Path(os.path.expanduser(loaded.data_root))
        there, here = root.resolve(), args.data.resolve()
        if there.is_relative_to(here) or here.is_relative_to(there):
            split = "" if found.split == "all" else "this is fit's default split, and "
            lines.append(
                f"{loaded.model} is not in a run folder, so its split of {root} is unknown: "
                f"{split}some of these images may be training images"
            )
    elif trained is not None and found.split != "train":
        count = count_trained(found.images, trained, args.allow_class)
        hint = "; --split test excludes them" if own else ""
        if count:
            lines.append(f"{count:,} of these {len(found.images):,} are training images{hint}")
    if loaded.baselines is None:
        lines.append(
            "the model has no baselines, so the table has none; compare it with one that has"
        )
    return loaded, found, lines


def header(
    args: argparse.Namespace,
    model: "Model",
    found: "EvaluationImages",
    size: int,
    images: int,
    seconds: float,
) -> dict[str, Any]:
    """Return what the JSON files of measurements have in common."""
    return {
        "checkpoint": str(model),
        "data": str(args.data),
        "split": found.split,
        "size": size,
        "images": images,
        "unreadable": len(found.images) - images,
        "seconds": seconds,
        "device": str(model.device),
        "versions": versions(),
    }
