"""`sweep status`, `stop`, `export` and `report`."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.common.errors import UsageError
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
    tables: list[Path] = [study.folder / name for name in _TABLES]
    if _configuration(study) is not None:
        tables.append(study.folder / _WINNER)
    # The default files belong to this command.
    write(study, args.to or tables, args.overwrite or not args.to)
    print(*(args.to or tables), sep="\n")
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the page of the sweep's current state."""
    require_images(args.report_images)
    from lightning_colorize.reports.sweep import write_report

    print(write_report(_open(args), args.report_images))
    return 0


def finish(study: "Study", images: int, failed: bool) -> int:
    """Print and write the results of a sweep; returns the exit code, 1 if workers `failed`."""
    from lightning_colorize.reports.sweep import write_report
    from lightning_colorize.sweeps.export import export as write
    from lightning_colorize.sweeps.queue import TrialQueue
    from lightning_colorize.sweeps.status import rows
    from lightning_colorize.sweeps.table import print_table

    print_table(study)
    print(f"report    {write_report(study, images)}")
    if _configuration(study) is not None:
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


def require_images(count: int) -> None:
    """Check `--report-images` before any work."""
    if count < 0:
        raise UsageError(f"--report-images {count}: it must be 0 or more")


def _configuration(study: "Study") -> Path | None:
    """Return the best trial's configuration; None for programs other than `fit`."""
    from lightning_colorize.reports.sweep import best_trials

    best = best_trials(study)[:1]
    files = [row.folder / CONFIG for row in best if (row.folder / CONFIG).is_file()]
    return files[0] if files else None


def _open(args: argparse.Namespace) -> "Study":
    from lightning_colorize.sweeps.study import open_study

    return open_study(args.study, args.name)
