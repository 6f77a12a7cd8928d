"""`lightning-colorize evaluate`: measures a checkpoint next to its baselines."""

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lightning_colorize.commands.options import (
    add_checkpoint,
    add_measuring_options,
    add_samples,
    open_model,
)
from lightning_colorize.common.arguments import Parser, number
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_json
from lightning_colorize.common.provenance import versions

if TYPE_CHECKING:
    from lightning_colorize.color import ColorBatch
    from lightning_colorize.evaluation import Evaluation
    from lightning_colorize.evaluation.data import SplitName
    from lightning_colorize.evaluation.evaluator import Intervals

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
    text = "also give references: the image itself, its mirror image, another frame, other images"
    parser.add_flag("--references", text)
    add_measuring_options(
        parser,
        "split of the folder to measure; the splits are the training run's if the checkpoint was "
        "trained on this folder, else fit's (default: test if it was trained on this folder or the "
        "folder contains train/, else all)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns 1 if images are unreadable or predictions are not finite."""
    from lightning_colorize.evaluation import evaluate_batches
    from lightning_colorize.evaluation.conditions import measure_conditions, require_labels
    from lightning_colorize.evaluation.evaluator import MODEL
    from lightning_colorize.models.control import require_conditions

    measured = Measurement(args, "test")
    model, found = measured.model, measured.found
    options = {"hints": args.hint_points, "palette": args.palettes, "label": args.labels}
    options["reference"] = args.references
    asked = {name for name, given in options.items() if given}
    require_conditions(model, asked)
    labels = found.labels if args.labels else None
    if labels is not None:
        require_labels(model, labels)
    parts = args.group_by or ()
    group = found.category_of if "folder" in parts else None
    result = evaluate_batches(
        model, measured.batches(model.size, "evaluating"), group, args.samples, args.seed
    )
    diverged = not math.isfinite(result.rows[MODEL]["mse_ab"])
    conditions: Intervals = {}
    if asked and not diverged:
        conditions = measure_conditions(
            model,
            lambda: measured.batches(model.size, "with conditions"),
            args.hint_points,
            args.palettes,
            labels,
            args.seed,
            found.category_of if args.references else None,
        )
    numbers = {
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
    if result.grey_truths:
        print(f"{result.grey_truths:,} of {result.images:,} images have no color", file=sys.stderr)
    return measured.finish(model.size, result.images, "", numbers, diverged)


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
    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.evaluation.color_ranges import ranges_table
    from lightning_colorize.evaluation.conditions import COLUMNS, GAIN
    from lightning_colorize.evaluation.evaluator import MODEL
    from lightning_colorize.evaluation.table import print_metrics

    for name, rows in result.groups.items():
        title = f"{name} ({result.counts[name]})"
        print_metrics(rows, title, result.metrics)
        print(result.group_colors[name])
    whole = "all" if result.groups else None
    print_metrics(result.rows, whole, result.metrics)
    print(result.colors)
    if energy := result.intervals[MODEL].get("energy"):
        print("energy {value:.2f}, 95 % interval {low:.2f} to {high:.2f}".format(**energy))
    if conditions:
        shown = {
            row: {k: v["value"] for k, v in each.items() if math.isfinite(v["value"])}
            for row, each in conditions.items()
        }
        print_plain(metrics_table(shown, "asked for", COLUMNS))
        line = "{}: {value:+.2f} dB over the best other, 95 % interval {low:+.2f} to {high:+.2f}"
        for row, each in conditions.items():
            if GAIN in each:
                print(line.format(row, **each[GAIN]))
    for by in parts:
        if by != "folder":
            print_plain(ranges_table(getattr(result, by), by))


class Measurement:
    """A model with its settings, and the images on which a command measures it.

    If the model was trained on the folder, its training split is used. `default` is the default
    split of a folder with splits; `args` are those of `add_checkpoint` and `add_measuring_options`.
    """

    def __init__(self, args: argparse.Namespace, default: "SplitName") -> None:
        from lightning_colorize.evaluation.data import find_truth, trained_on, trained_remark
        from lightning_colorize.evaluation.systems import System

        self.args = args
        self.model = open_model(args)
        system = System(str(self.model), args.checkpoint, self.model)
        if system.problem is not None:  # the images may be training images
            raise UsageError(system.problem)
        self.found = find_truth(args.data, args.split, [system], args.allow_class, default)
        count = sum(trained_on(self.found, [system], args.allow_class).values())
        self._trained = trained_remark(self.found, system, args.data, count)
        self._start = time.perf_counter()

    def batches(self, size: int, doing: str) -> "Iterator[ColorBatch]":
        """Return the images with this height and width in pixels, and show the progress."""
        return self.found.batches(size, self.args.batch_size, self.model.device, doing)

    def finish(
        self, size: int, images: int, more: str, numbers: dict[str, Any], diverged: bool
    ) -> int:
        """Print how many images were measured, and write the JSON file; returns the exit code."""
        seconds, unread = time.perf_counter() - self._start, len(self.found.images) - images
        lost = f"; {unread:,} could not be read" if unread else ""
        print(
            f"{self.found.describe(images, self.args.data, size)}, in {seconds:.1f} s{more}{lost}"
        )
        if self._trained is not None:
            print(self._trained, file=sys.stderr)
        if self.model.baselines is None:
            print("the table has no baselines, as the model has none", file=sys.stderr)
        if diverged:
            print(
                "the network predicts colors that are not finite: metrics are missing",
                file=sys.stderr,
            )
        if self.args.json is not None:
            common = {
                "checkpoint": str(self.model),
                "data": str(self.args.data),
                "split": self.found.split,
                "size": size,
                "images": images,
                "unreadable": unread,
                "seconds": seconds,
                "device": str(self.model.device),
                "versions": versions(),
            }
            write_json(self.args.json, common | numbers)
        return 1 if diverged or unread else 0
