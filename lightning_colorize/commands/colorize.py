"""`lightning-colorize colorize`: images to colorized images."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.common.arguments import (
    add_checkpoint,
    add_network_options,
    decoding_options,
    expanded_path,
    require_positive,
)
from lightning_colorize.common.bundled import DEFAULT_FILE
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.text import printable

if TYPE_CHECKING:
    from lightning_colorize.inference import Record

HELP = "colorize an image or a folder of images"

_SHOWN_FAILURES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "input", metavar="INPUT", type=expanded_path, help="an image, or a folder of any depth"
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        type=expanded_path,
        help="folder for the results, with the structure of INPUT; for one image also a file name",
    )
    add_checkpoint(parser, "--checkpoint")
    add_network_options(parser, "pixels of the short side at which the network sees the image")
    parser.add_argument(
        "--format",
        choices=("png", "jpg", "same"),
        default="same",
        help="of the results (default: that of each image, PNG where it cannot be written)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace existing results; otherwise they are skipped",
    )
    parser.add_argument(
        "--max-density",
        metavar="N",
        type=int,
        default=100,
        help="reject images above 40 megapixels with more than N pixels for each byte of the file, "
        "which take minutes and gigabytes and are hardly photographs (default: 100)",
    )


def run(args: argparse.Namespace) -> int:
    """Colorize; returns 1 if any image failed."""
    require_positive(args, "size", "max_density")
    from lightning_colorize.common.progress import progress
    from lightning_colorize.inference import (
        choose_device,
        colorize_files,
        load_model,
        open_manifest,
        plan_jobs,
    )

    try:
        jobs, folder = plan_jobs(args.input, args.output, args.format)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
    loaded = load_model(args.checkpoint, args.allow_class, choose_device(args.device))
    if loaded.path == DEFAULT_FILE:
        print("with the model of the package; --checkpoint takes another", file=sys.stderr)
    loaded.set_decoding(**decoding_options(args))
    failures: list[Record] = []
    count: Counter[str] = Counter()
    try:
        if folder is not None:
            open_manifest(folder).close()
    except OSError as error:
        raise UsageError(f"OUTPUT {args.output}: {error.strerror}") from None
    size = args.size or loaded.size
    records = colorize_files(loaded, jobs, size, folder, args.overwrite, args.max_density)
    for record in progress(records, len(jobs), "colorizing"):
        count[record.status] += 1
        count["fallbacks"] += bool(record.fallbacks)
        if folder is None and record.fallbacks:
            line = f"{record.output}: {'; '.join(record.fallbacks)}"
            print(printable(line), file=sys.stderr)
        if record.status == "failed":
            failures.append(record)
    if folder is not None and count["fallbacks"]:
        print(f"{count['fallbacks']} with fallbacks: see the manifest", file=sys.stderr)
    result = jobs[0].target if args.input.is_file() else args.output
    return _report(result, count, failures)


def _report(result: Path, count: Counter[str], failures: "list[Record]") -> int:
    for record in failures[:_SHOWN_FAILURES]:
        print(printable(f"not colorized: {record.input}: {record.reason}"), file=sys.stderr)
    if len(failures) > _SHOWN_FAILURES:
        print(f"... and {len(failures) - _SHOWN_FAILURES} more: see the manifest", file=sys.stderr)
    done = f"{count['ok']} colorized, {count['skipped']} skipped, {count['failed']} failed"
    hint = "; --overwrite replaces them" if count["skipped"] else ""
    print(f"{done} -> {result}{hint}")
    return 1 if failures else 0
