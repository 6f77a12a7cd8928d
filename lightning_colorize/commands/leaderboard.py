"""`lightning-colorize leaderboard`: collects results of one protocol in a table."""

import argparse
import sys
from pathlib import Path

from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_new, require_writable
from lightning_colorize.metrics.spec import METRICS

HELP = "collect the results of one protocol on a page and in a Markdown table"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    text = "results of `protocol NAME SYSTEM --json FILE`, or folders of results"
    parser.add_path("results", "FILE_OR_DIR", text, nargs="+")
    parser.add_path("--out", "DIR", "folder for the page and the table", required=True)
    parser.add_argument(
        "--sort-by",
        choices=[metric.name for metric in METRICS if metric.name != "mae_ab"],
        default="ciede2000",
        help="metric to sort by, best first (default: ciede2000)",
    )
    parser.add_flag("--overwrite", "replace an existing leaderboard")


def run(args: argparse.Namespace) -> int:
    """Write and print the leaderboard."""
    from lightning_colorize.evaluation import metrics_table, print_plain
    from lightning_colorize.evaluation.protocol import COLUMNS, SYSTEM, ProtocolResult
    from lightning_colorize.reports.leaderboard import (
        MARKDOWN,
        PAGE,
        require_one_protocol,
        sorted_results,
        write_leaderboard,
    )

    require_new(args.overwrite, args.out / PAGE, args.out / MARKDOWN)
    files = {file.resolve(): file for given in args.results for file in _files(given)}
    results = {file: ProtocolResult.read(file) for file in files.values()}
    require_one_protocol(results)
    require_writable(args.out / PAGE, "--out")
    by = next(metric for metric in METRICS if metric.name == args.sort_by)
    ordered = sorted_results([*results.values()], by)
    write_leaderboard(args.out, ordered)
    names = [result.system for result in ordered]
    rows = {
        # The position distinguishes systems with the same name.
        f"{name} ({i + 1})" if names.count(name) > 1 else name: {
            metric: value.value for metric, value in ordered[i].rows[SYSTEM].items()
        }
        for i, name in enumerate(names)
    }
    print_plain(metrics_table(rows, metrics=COLUMNS))
    print(ordered[0].protocol)
    for name in (PAGE, MARKDOWN):
        print(args.out / name)
    for result in ordered:
        if result.trained_on:
            print(
                f"{result.system} was trained on {result.trained_on:,} of these images",
                file=sys.stderr,
            )
    return 0


def _files(given: Path) -> list[Path]:
    if not given.is_dir():
        if not given.is_file():
            raise UsageError(f"{given} does not exist; give result files, or folders of them")
        return [given]
    files = sorted(file for file in given.rglob("*.json") if file.is_file())
    if not files:
        raise UsageError(f"{given} contains no .json files")
    return files
