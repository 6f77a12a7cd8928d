"""`lightning-colorize audit`: finds faulty images and leaks, and lists images to exclude."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.arguments import Parser, number
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_json

if TYPE_CHECKING:
    from lightning_colorize.data.sources import Source

HELP = "find broken, grey, tiny and duplicate images, and duplicates across splits"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", metavar="FOLDER", help="image folder, split as in fit --data.root FOLDER"
    )
    parser.add_path(
        "--source",
        "FILE",
        "a YAML file with a source, such as experiments/source/folder.yaml, as in fit "
        "--data.source (default: the same as in fit)",
    )
    text = "report images with a short side below N pixels as tiny (default: 64)"
    parser.add_int("--min-side", text, default=64)
    parser.add_argument(
        "--min-colorfulness",
        metavar="X",
        type=number(float, 0),
        help="report images with a colorfulness below X as pale, with a histogram; BigColor and "
        "DDColor train without those below 15 (default: pale images are not reported)",
    )
    parser.add_output(
        "--exclude-to", "write the images to exclude, with reasons, for a source's exclude_list"
    )
    parser.add_output("--json", "write all findings")


def run(args: argparse.Namespace) -> int:
    """Audit and print the findings; returns 1 if splits share duplicates."""
    if args.exclude_to is not None and args.exclude_to.exists():
        raise UsageError(f"--exclude-to {args.exclude_to} already exists: choose another file")
    from lightning_colorize.commands.audit_report import as_json, print_report
    from lightning_colorize.data.audit import as_text, audit, exclusion_list
    from lightning_colorize.data.sources import default_source, parse_root

    root = parse_root(args.folder)
    if args.source is None and isinstance(root, Path) and not root.exists():
        raise UsageError(f"{root} does not exist: give an image folder")
    source = default_source(root) if args.source is None else _source(args.source)
    splits = source.splits(root)
    start = time.perf_counter()
    found = audit(splits, args.min_side, args.min_colorfulness)
    excluded = exclusion_list(found)
    seconds = time.perf_counter() - start
    if args.json is not None:
        write_json(args.json, as_json(found, seconds, excluded))
    if args.exclude_to is not None and excluded:
        args.exclude_to.parent.mkdir(parents=True, exist_ok=True)
        # "x": another process may have created it meanwhile.
        with args.exclude_to.open("x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(as_text(found, excluded))
    print_report(found, seconds, len(excluded), args.exclude_to)
    return 1 if found.leaks else 0


def _source(file: Path) -> "Source":
    import yaml

    from lightning_colorize.common.class_paths import Trust, build, find_class_paths
    from lightning_colorize.data.sources import Source

    try:
        spec: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        # The classes in this file are trusted, as in fit.
        source: Source = build(spec, Source, Trust(allow=list(find_class_paths(spec))))
        return source
    except (OSError, UsageError, yaml.YAMLError, ImportError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--source {file} does not describe a source ({reason})") from None
