"""`lightning-colorize evaluate`: the metrics of a checkpoint beside its baselines."""

import argparse
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_colorize.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lightning_colorize.evaluation import Evaluation, EvaluationPictures
    from lightning_colorize.inference import LoadedTask

HELP = "measure a checkpoint beside its baselines, per folder on wish"

_VERSIONS = ("lightning-colorize", "torch", "torchvision", "pytorch-lightning", "kornia")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "checkpoint",
        metavar="CKPT_OR_RUN",
        type=Path,
        help="a checkpoint, or a run folder: then its best",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", type=Path, required=True, help="photographs in colour"
    )
    parser.add_argument(
        "--split",
        choices=("test", "val", "train", "all"),
        help="default: test where FOLDER has train, val and test, else all; "
        "in another folder the splits are those that fit makes",
    )
    parser.add_argument(
        "--group-by",
        choices=("folder",),
        help="measure each sub-folder (category) by itself too",
    )
    parser.add_argument(
        "--size", metavar="N", type=int, help="height and width in pixels (default: as trained)"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers, not rounded")
    parser.add_argument("--batch-size", metavar="N", type=int, default=32)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--allow-class",
        metavar="CLASS",
        action="append",
        default=[],
        help="a class, module or package that the checkpoint may import besides our own",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns 1 if some of the pictures could not be read."""
    for name in ("size", "batch_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value}: it must be at least 1")
    from rich.console import Console

    from lightning_colorize.evaluation import evaluate, find_pictures
    from lightning_colorize.inference import choose_device, load_task, progress

    found = find_pictures(args.data, args.split)
    device = choose_device(args.device)
    loaded = load_task(args.checkpoint, args.allow_class, device)
    size = args.size or loaded.size
    start = time.perf_counter()
    batches = found.batches(size, args.batch_size, device)
    count = -(-len(found.pictures) // args.batch_size)
    result = evaluate(
        loaded.task,
        loaded.baselines,
        progress(batches, count, "evaluating"),
        found.group if args.group_by else None,
    )
    seconds = time.perf_counter() - start
    if not result.pictures:
        raise UsageError(f"none of {len(found.pictures)} pictures in {args.data} can be read")
    _print(Console(), args, result, found, size, seconds)
    _warn(args, loaded, found)
    if args.json is not None:
        from lightning_colorize.run_folder import write_atomic

        numbers = _as_json(args, result, loaded, found, size, seconds)
        write_atomic(args.json, json.dumps(numbers, indent=2) + "\n")
    return 1 if result.pictures < len(found.pictures) else 0


def _print(
    console: "Console",
    args: argparse.Namespace,
    result: "Evaluation",
    found: "EvaluationPictures",
    size: int,
    seconds: float,
) -> None:
    from lightning_colorize.evaluation import metrics_table, print_plain

    for name, rows in result.groups.items():
        print_plain(console, metrics_table(rows, f"{name} ({result.counts[name]})"))
    print_plain(console, metrics_table(result.rows, "all" if result.groups else None))
    which = "pictures" if found.split == "all" else f"{found.split} pictures"
    console.print(
        f"{result.pictures:,} {which} of {args.data} at {size} px, in {seconds:.1f} s",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _warn(args: argparse.Namespace, loaded: "LoadedTask", found: "EvaluationPictures") -> None:
    root = loaded.data_root
    if found.split == "all" and root and Path(root).expanduser().resolve() == args.data.resolve():
        print(
            "most of these are its training pictures: --split test takes only those it never saw",
            file=sys.stderr,
        )
    if loaded.baselines is None:
        print("the checkpoint has no baselines, so there are no rows of them", file=sys.stderr)


def _as_json(
    args: argparse.Namespace,
    result: "Evaluation",
    loaded: "LoadedTask",
    found: "EvaluationPictures",
    size: int,
    seconds: float,
) -> dict[str, Any]:
    return {
        "checkpoint": str(loaded.path),
        "data": str(args.data),
        "split": found.split,
        "size": size,
        "pictures": result.pictures,
        "unreadable": len(found.pictures) - result.pictures,
        "metrics": result.rows,
        "groups": {
            name: {"pictures": result.counts[name], "metrics": rows}
            for name, rows in result.groups.items()
        },
        "seconds": seconds,
        "model_seconds": result.model_seconds,
        "device": str(loaded.task.device),
        "versions": {name: version(name) for name in _VERSIONS},
    }
