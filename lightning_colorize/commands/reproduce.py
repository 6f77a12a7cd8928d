"""`lightning-colorize reproduce`: a table of the documentation, measured again and compared."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import exit_on_sigterm
from lightning_colorize.common.text import printable

if TYPE_CHECKING:
    from lightning_colorize.benchmarking.comparison import Row

HELP = "measure a table of the documentation again, and compare its figures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="the table (default: list all of them)"
    )
    parser.add_argument(
        "--data",
        metavar="NAME=PATH",
        action="append",
        default=[],
        help="a data set that the table needs; may be repeated",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=expanded_path,
        default=Path("reproduced"),
        help="the commands run in DIR/NAME; an interrupted call continues there "
        "(default: reproduced)",
    )


def run(args: argparse.Namespace) -> int:
    """List the tables, or measure one.

    Returns:
        0 if all figures are the same, 1 otherwise.
    """
    from lightning_colorize.benchmarking.reproduction import (
        begin,
        check_data,
        expected_results,
        find_clone,
        read_data_sets,
        read_reproduction,
        run_commands,
    )

    root = find_clone()
    data = _named_paths(args.data)
    if args.name is None:
        if data:
            raise UsageError("--data needs the NAME of a table")
        _print_list(root)
        return 0
    plan = read_reproduction(root, args.name)
    expected = expected_results(root, plan.name)
    if not expected.is_file():
        raise UsageError(
            f"{plan.name} has not been measured yet, there is no {expected.relative_to(root)}; "
            f"in the clone: {plan.commands[0]}"
        )
    folder = args.out / plan.name
    done = begin(plan, folder)
    check_data(plan, read_data_sets(root), data)
    print(f"{plan.name}: about {_duration(plan.minutes)}, in {folder}", flush=True)
    if done == len(plan.commands):
        print("It was measured there before: compared again. Another --out measures again.")
    exit_on_sigterm()
    measured = run_commands(root, plan, folder, data, done)

    from lightning_colorize.benchmarking.comparison import (
        changed_environment,
        compare_figures,
        compare_images,
    )

    theirs, ours = (json.loads(file.read_text()) for file in (expected, measured))
    rows = compare_figures(theirs, ours, plan.figures)
    rows += compare_images(root, folder, plan.images)
    _print_rows(rows)
    for line in changed_environment(theirs, ours):
        print(f"environment: {printable(line)}")
    compared = [row for row in rows if row.same is not None]
    failed = sum(not row.same for row in compared)
    verdict = f"NOT the same: {failed:,} of" if failed else "same:"
    counts = f"{len(compared):,} figures; {len(rows) - len(compared):,} are only shown"
    print(f"{plan.name}: {verdict} {counts}")
    return 1 if failed else 0


def _named_paths(words: list[str]) -> dict[str, Path]:
    """Return the paths of `NAME=PATH` by name."""
    paths: dict[str, Path] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not name or not path:
            raise UsageError(f"--data {word}: give NAME=PATH")
        if name in paths:
            raise UsageError(f"--data {name} is given twice")
        paths[name] = expanded_path(path)
    return paths


def _duration(minutes: int) -> str:
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def _print_list(root: Path) -> None:
    """Print the tables and the data sets."""
    from lightning_colorize.benchmarking.reproduction import (
        expected_results,
        list_reproductions,
        read_data_sets,
        read_reproduction,
    )

    row = "{:<16}  {:>12}  {:<12}  {}".format
    print(row("table", "time", "of a machine", "data"))
    for name in list_reproductions(root):
        plan = read_reproduction(root, name)
        time = _duration(plan.minutes)
        if not expected_results(root, name).is_file():
            time = "not measured"
        print(row(name, time, "yes" if plan.machine else "no", ", ".join(plan.data) or "-"))
    print("\nFigures of a machine depend on its speed. Data:")
    for name, data in read_data_sets(root).items():
        print(f"  {name}: {data.about}")


def _print_rows(rows: "list[Row]") -> None:
    """Print the figures, those that are not the same at the end."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lightning_colorize.evaluation import print_plain

    table = Table("figure", pad_edge=False)
    for title in ("expected", "measured", "tolerance"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("same")
    words = {True: "yes", False: "NO", None: "-"}
    for row in sorted(rows, key=lambda row: row.same is False):
        table.add_row(*(Text(printable(text)) for text in row[:-1]), words[row.same])
    print_plain(Console(), table)
