"""`lightning-colorize runs list`: lists runs in a table."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lightning_colorize.common.arguments import COMMAND, Parser
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_json
from lightning_colorize.common.text import UNKNOWN, format_time, short_names
from lightning_colorize.metrics.spec import MONITOR
from lightning_colorize.runs.folder import find_runs
from lightning_colorize.runs.record import RunRecord, differences, find_metric, rank
from lightning_colorize.runs.result import RunResult

HELP = "list the runs by best metric, with their status and configuration differences"

_COLUMNS = 6  # maximum number of columns for settings that differ


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list")
    listing = actions.add_parser("list", help=HELP, description=HELP)
    listing.add_path("--root", "FOLDER", "folder of the runs", default="runs")
    listing.add_argument(
        "--sort", metavar="METRIC", help=f"metric to sort by, best first (default: {MONITOR})"
    )
    listing.add_argument("--experiment", metavar="NAME", help="only the runs of this experiment")
    listing.add_output("--json", "also write the list as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table, even if it is empty."""
    folders = find_runs(args.root)
    if args.experiment is not None:
        experiments = sorted({folder.parent.name for folder in folders})
        folders = [folder for folder in folders if folder.parent.name == args.experiment]
        if not folders:
            known = ", ".join(experiments) or "none"
            raise UsageError(
                f"--experiment {args.experiment}: no runs in {args.root}; available: {known}"
            )
    if not folders:
        print(f"no runs in {args.root} yet; {COMMAND} fit starts one")
        return 0
    runs = [RunRecord(folder) for folder in folders]
    metric = find_metric(runs, args.sort) if args.sort else MONITOR
    runs = rank(runs, metric)
    differing = differences(runs)
    _print_table(runs, metric, differing)
    print(f"best {metric} first, at the best epoch of each run (run.monitor)", file=sys.stderr)
    if args.json is not None:
        write_json(args.json, _as_json(runs, metric, differing))
    return 0


def _print_table(
    runs: Sequence[RunRecord], metric: str, differing: Mapping[str, Sequence[str | None]]
) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    results = [run.result or RunResult(run.status) for run in runs]
    columns = [
        ("run", [run.name for run in runs]),
        ("status", [run.status for run in runs]),
        (metric, [_number(run.metrics.get(metric), "{:.3f}") for run in runs]),
        ("- grey", [_number(run.minus_grey(metric), "{:+.3f}") for run in runs]),
        ("epochs", [_number(result.epochs, "{}") for result in results]),
        ("time", [format_time(result.seconds) for result in results]),
    ]
    fixed = len(columns)
    shown = short_names(list(differing)[:_COLUMNS])
    columns += [(short, list(map(_value, differing[name]))) for name, short in shown.items()]
    console = Console()
    if not console.is_terminal:  # files and other programs get full-width lines
        console = Console(width=10_000)
    table = Table(box=SIMPLE if console.is_terminal else None, pad_edge=False)
    for index, (heading, _) in enumerate(columns):
        justify: Literal["left", "right"] = "right" if 2 <= index < fixed else "left"
        table.add_column(heading, justify=justify, overflow="fold")
    for cells in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*map(Text, cells))
    console.print(table)
    if more := len(differing) - len(shown):
        console.print(f"{more} more settings differ; --json FILE lists all", highlight=False)


def _as_json(
    runs: Sequence[RunRecord], metric: str, differing: Mapping[str, Sequence[str | None]]
) -> list[dict[str, Any]]:
    results = [run_.result or RunResult(run_.status) for run_ in runs]
    return [
        {
            "folder": str(run_.folder),
            "run": run_.name,
            "status": run_.status,
            "metric": metric,
            "value": run_.metrics.get(metric),
            "minus_grey": run_.minus_grey(metric),
            "epochs": result.epochs,
            "seconds": result.seconds,
            "device_hours": result.device_hours,
            "steady_images_per_second": result.steady_images_per_second,
            "metrics": run_.metrics,
            "differs": {name: values[i] for name, values in differing.items()},
        }
        for i, (run_, result) in enumerate(zip(runs, results, strict=True))
    ]


def _value(value: str | None) -> str:
    if value is None:
        return UNKNOWN
    # Shorten class paths to their last part; keep numbers and paths.
    return value.rpartition(".")[2] if value.startswith("lightning_colorize.") else value


def _number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else form.format(value)
