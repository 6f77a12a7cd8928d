"""`sweep status`, `stop`, `export` and `report`."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.commands.sweep import IMAGES
from lightning_colorize.common.arguments import require_not_negative
from lightning_colorize.runs.folder import CONFIG

if TYPE_CHECKING:
    from lightning_colorize.sweeps.study import Study

_TABLES, _WINNER = ("trials.csv", "trials.json"), "winner.yaml"


def status(args: argparse.Namespace) -> int:
    """Show all trials."""
    from lightning_colorize.sweeps.table import print_table

    print_table(_open(args))
    return 0


def stop(args: argparse.Namespace) -> int:
    """Stop all workers, on all machines."""
    study = _open(args)
    study.stop(args.now)
    ends = "are interrupted" if args.now else "finish"
    print(f"{study.sweep.name}: no other trial starts, running ones {ends}")
    print(f"resume    {study.command('resume')}")
    return 0


def export(args: argparse.Namespace) -> int:
    """Write files for other programs and for `fit`."""
    from lightning_colorize.sweeps.export import export as write

    study = _open(args)
    names = [*_TABLES, _WINNER] if _has_winner(study) else _TABLES
    # The default files belong to this command.
    paths: list[Path] = args.to or [study.folder / name for name in names]
    write(study, paths, args.overwrite or not args.to)
    print(*paths, sep="\n")
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the page of the sweep's current state."""
    require_not_negative(args, "report_images")
    from lightning_colorize.reports.sweep import write_report

    print(write_report(_open(args), args.report_images))
    return 0


def finish(study: "Study", failed: bool) -> int:
    """Print and write the results of a sweep; returns the exit code, 1 if workers `failed`."""
    from lightning_colorize.reports.sweep import write_report
    from lightning_colorize.sweeps.export import export as write
    from lightning_colorize.sweeps.queue import TrialQueue
    from lightning_colorize.sweeps.status import rows
    from lightning_colorize.sweeps.table import print_table

    print_table(study)
    print(f"report    {write_report(study, IMAGES)}")
    if _has_winner(study):
        winner = study.folder / _WINNER
        write(study, [winner], overwrite=True)
        print(f"winner    {shlex.join(['lightning-colorize', 'fit', '--config', str(winner)])}")
    lost = [row for row in rows(study) if row.state == "failed"]
    for row in lost:
        print(f"trial {row.number} failed: {row.reason}", file=sys.stderr)
    if lost:
        print(f"retry     {study.command('resume', '--retry-failed')}", file=sys.stderr)
    is_open = not TrialQueue(study).all_ended()
    if is_open:
        print(f"resume    {study.command('resume')}", file=sys.stderr)
    return int(failed or is_open or bool(lost))


def _has_winner(study: "Study") -> bool:
    """Return whether the winner has a configuration; other programs than `fit` write none."""
    from lightning_colorize.sweeps.status import rows, winner

    first = winner(rows(study), study.sweep.goal)
    return first is not None and (first.folder / CONFIG).is_file()


def _open(args: argparse.Namespace) -> "Study":
    from lightning_colorize.sweeps.study import open_study

    return open_study(args.study, args.name)
