"""`sweep status`, `stop`, `export` and `report`."""

import argparse
import shlex
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from lightning_colorize.commands.sweep import IMAGES
from lightning_colorize.common.arguments import require_not_negative

if TYPE_CHECKING:
    from lightning_colorize.sweeps.study import Study


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
    from lightning_colorize.sweeps.export import NoWinner, export_trials, export_winner

    study = _open(args)
    print(*export_trials(study), sep="\n")
    try:
        print(export_winner(study))
    except NoWinner as reason:
        print(f"no winner.yaml: {reason}", file=sys.stderr)
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
    from lightning_colorize.sweeps.export import NoWinner, export_winner
    from lightning_colorize.sweeps.queue import TrialQueue
    from lightning_colorize.sweeps.status import rows
    from lightning_colorize.sweeps.table import print_table

    print_table(study)
    print(f"report    {write_report(study, IMAGES)}")
    with suppress(NoWinner):
        words = ["lightning-colorize", "fit", "--config", str(export_winner(study))]
        print(f"winner    {shlex.join(words)}")
    lost = [row for row in rows(study) if row.state == "failed"]
    for row in lost:
        print(f"trial {row.number} failed: {row.reason}", file=sys.stderr)
    if lost:
        print(f"retry     {study.command('resume', '--retry-failed')}", file=sys.stderr)
    is_open = not TrialQueue(study).all_ended()
    if is_open:
        print(f"resume    {study.command('resume')}", file=sys.stderr)
    return int(failed or is_open or bool(lost))


def _open(args: argparse.Namespace) -> "Study":
    from lightning_colorize.sweeps.study import open_study

    return open_study(args.study, args.name)
