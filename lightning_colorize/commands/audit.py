"""`lightning-colorize audit`: what is wrong with a set of images, and what to leave out."""

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.arguments import expanded_path, require_positive
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable, write_atomic

if TYPE_CHECKING:
    from lightning_colorize.data.sources import Source

HELP = "find broken, grey, tiny and duplicate images, and copies that are in two splits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", metavar="FOLDER", help="photographs, split as fit --data.root FOLDER splits them"
    )
    parser.add_argument(
        "--source",
        metavar="FILE",
        type=expanded_path,
        help="a YAML as fit's --data.source takes it, where FOLDER is not split by default "
        "(experiments/source/folder.yaml shows the settings)",
    )
    parser.add_argument(
        "--min-side",
        metavar="N",
        type=int,
        default=64,
        help="pixels of the short side below which an image is tiny (default: 64)",
    )
    parser.add_argument(
        "--exclude-to",
        metavar="FILE",
        type=expanded_path,
        help="write what to leave out, with reasons, as a source's exclude_list takes it",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=expanded_path, help="write all that was found"
    )


def run(args: argparse.Namespace) -> int:
    """Look at every image and print; returns 1 if one is in two splits."""
    require_positive(args, "min_side")
    if args.exclude_to is not None:
        if args.exclude_to.exists():
            raise UsageError(
                f"--exclude-to {args.exclude_to} is there already: remove it, or name another file"
            )
        require_writable(args.exclude_to, "--exclude-to")
    if args.json is not None:
        require_writable(args.json, "--json")
    from lightning_colorize.commands.audit_report import as_json, print_report
    from lightning_colorize.data.audit import as_text, audit, exclusion_list
    from lightning_colorize.data.sources import default_source, parse_root

    root = parse_root(args.folder)
    source = default_source(root) if args.source is None else _source(args.source)
    splits = source.splits(root)
    start = time.perf_counter()
    found = audit(splits, args.min_side)
    excluded = exclusion_list(found)
    seconds = time.perf_counter() - start
    if args.json is not None:
        write_atomic(args.json, json.dumps(as_json(found, seconds, excluded), indent=2) + "\n")
    if args.exclude_to is not None:
        # "x": it may have come into being meanwhile.
        with args.exclude_to.open("x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(as_text(found, excluded))
    print_report(found, seconds, len(excluded), args.exclude_to)
    return 1 if found.leaks else 0


def _source(file: Path) -> "Source":
    """Build the source that a YAML describes."""
    import yaml

    from lightning_colorize.common.class_paths import Trust, build, find_class_paths
    from lightning_colorize.data.sources import Source

    try:
        spec: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        # Who names the file trusts the classes in it, as with fit.
        source: Source = build(spec, Source, Trust(allow=list(find_class_paths(spec))))
        return source
    except OSError as error:
        raise UsageError(f"--source {file} cannot be read: {error.strerror}") from None
    except UsageError as error:
        raise UsageError(f"--source {file}: {error}") from None
    except (yaml.YAMLError, ImportError, TypeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--source {file} describes no source ({reason})") from None
