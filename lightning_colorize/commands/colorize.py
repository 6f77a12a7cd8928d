"""`lightning-colorize colorize`: pictures to coloured pictures."""

import argparse
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.errors import UsageError

if TYPE_CHECKING:
    from lightning_colorize.inference import Record

HELP = "colour a picture or a folder of pictures"

_SHOWN_FAILURES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "input", metavar="INPUT", type=Path, help="a picture, or a folder of any depth"
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        type=Path,
        help="folder for the results, in INPUT's structure; for one picture also a file name",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="CKPT_OR_RUN",
        type=Path,
        required=True,
        help="a checkpoint, or a run folder: then its best",
    )
    parser.add_argument(
        "--size",
        metavar="N",
        type=int,
        help="pixels of the short side at which the network sees the picture (default: as trained)",
    )
    parser.add_argument(
        "--format",
        choices=("png", "jpg", "same"),
        default="same",
        help="of the results (default: that of each picture, PNG where it cannot be written)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results that are there already; else they are skipped",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--allow-class",
        metavar="CLASS",
        action="append",
        default=[],
        help="a class, module or package that the checkpoint may import besides our own",
    )


def run(args: argparse.Namespace) -> int:
    """Colour; returns 1 if some of the pictures could not be coloured."""
    if args.size is not None and args.size < 1:
        raise UsageError(f"--size {args.size} is not a number of pixels")
    from lightning_colorize.inference import (
        choose_device,
        colorize_files,
        load_task,
        open_manifest,
        plan_jobs,
        progress,
    )

    jobs, folder = plan_jobs(args.input, args.output, args.format)
    loaded = load_task(args.checkpoint, args.allow_class, choose_device(args.device))
    failures: list[Record] = []
    count: Counter[str] = Counter()
    try:
        opened = nullcontext() if folder is None else open_manifest(folder)
    except OSError as error:
        raise UsageError(f"OUTPUT {args.output}: {error.strerror}") from None
    with opened as manifest:
        size = args.size or loaded.size
        records = colorize_files(loaded, jobs, size, manifest, args.overwrite)
        for record in progress(records, len(jobs), "colouring"):
            count[record.status] += 1
            if record.status == "failed":
                failures.append(record)
    return _report(args, count, failures)


def _report(args: argparse.Namespace, count: Counter[str], failures: "list[Record]") -> int:
    if len(failures) == count.total() and all(record.width is None for record in failures):
        first = f"{failures[0].input}: {failures[0].reason}"
        raise UsageError(f"none of {len(failures)} pictures can be read; the first is {first}")
    for record in failures[:_SHOWN_FAILURES]:
        print(f"not coloured: {record.input}: {record.reason}", file=sys.stderr)
    if len(failures) > _SHOWN_FAILURES:
        print(f"... and {len(failures) - _SHOWN_FAILURES} more: see the manifest", file=sys.stderr)
    done = f"{count['ok']} coloured, {count['skipped']} skipped, {count['failed']} failed"
    hint = "; --overwrite colours them anew" if count["skipped"] else ""
    print(f"{done} -> {args.output}{hint}")
    return 1 if failures else 0
