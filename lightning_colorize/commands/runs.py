"""`lightning-colorize runs list`: a table of runs."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable, write_json
from lightning_colorize.common.text import UNKNOWN, format_time, short_names
from lightning_colorize.metrics.spec import MONITOR
from lightning_colorize.runs.folder import find_runs
from lightning_colorize.runs.listing import differences, find_metric, rank
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.runs.result import RunResult

if TYPE_CHECKING:
    from rich.table import Table

HELP = "list the runs by best metric, with their status and what differs in configuration"

_COLUMNS = 6  # settings that differ; more do not fit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list")
    listing = actions.add_parser("list", help=HELP, description=HELP)
    listing.add_argument(
        "--root", type=expanded_path, default="runs", metavar="FOLDER", help="folder of the runs"
    )
    listing.add_argument(
        "--sort", metavar="METRIC", help=f"metric to sort by, best first (default: {MONITOR})"
    )
    listing.add_argument("--experiment", metavar="NAME", help="only the runs of this experiment")
    listing.add_argument(
        "--json", type=expanded_path, metavar="FILE", help="also write the list as JSON"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table; an empty list is not an error."""
    if args.json is not None:
        require_writable(args.json, "--json")
    folders = find_runs(args.root)
    if args.experiment is not None:
        experiments = sorted({folder.parent.name for folder in folders})
        folders = [folder for folder in folders if folder.parent.name == args.experiment]
        if not folders:
            known = ", ".join(experiments) or "none"
            raise UsageError(
                f"--experiment {args.experiment}: no runs of it in {args.root}; available: {known}"
            )
    if not folders:
        print(f"no runs in {args.root} yet; lightning-colorize fit starts one")
        return 0
    runs = [RunRecord(folder) for folder in folders]
    metric = find_metric(runs, args.sort) if args.sort else MONITOR
    runs = rank(runs, metric)
    differing = differences(runs)
    _print_table(runs, metric, differing)
    if args.json is not None:
        write_json(args.json, _as_json(runs, metric, differing))
    return 0


def _print_table(
    runs: Sequence[RunRecord], metric: str, differing: Mapping[str, Sequence[str | None]]
) -> None:
    from rich.console import Console

    console = Console()
    unbounded = console.options.update(width=10_000)
    if not console.is_terminal:
        # A file or another program reads whole lines.
        console = Console(width=unbounded.max_width)
    shown = list(differing)[:_COLUMNS]
    table = _table(runs, metric, differing, shown, boxed=console.is_terminal)
    while shown and console.measure(table, options=unbounded).maximum > console.width:
        shown.pop()
        table = _table(runs, metric, differing, shown, boxed=console.is_terminal)
    console.print(table)
    if more := len(differing) - len(shown):
        hint = "a wider terminal shows more, --json FILE all of it"
        console.print(f"{more} more settings differ; {hint}", highlight=False)


def _table(
    runs: Sequence[RunRecord],
    metric: str,
    differing: Mapping[str, Sequence[str | None]],
    shown: Sequence[str],
    *,
    boxed: bool,
) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE if boxed else None, pad_edge=False)
    for heading in ("run", "status", metric, "- grey", "epochs", "time"):
        table.add_column(heading, justify="left" if heading in ("run", "status") else "right")
    for name in short_names(shown).values():
        table.add_column(name)
    for i, run_ in enumerate(runs):
        cells = [
            run_.name,
            run_.status,
            _number(run_.metrics.get(metric), "{:.3f}"),
            _number(run_.minus_grey(metric), "{:+.3f}"),
            _number(run_.epochs, "{}"),
            format_time(run_.result.seconds if run_.result else None),
            *(_value(differing[name][i]) for name in shown),
        ]
        table.add_row(*map(Text, cells))
    return table


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
            "epochs": run_.epochs,
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
    # A class path is shown by its last part; numbers and paths stay whole.
    return value.rpartition(".")[2] if value.startswith("lightning_colorize.") else value


def _number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else form.format(value)
