"""The actions of `sweep`, imported after their arguments are parsed."""

import argparse
import shlex
import sys
from contextlib import chdir, suppress
from itertools import islice
from pathlib import Path
from typing import Literal

from lightning_colorize.commands import sweep_checks
from lightning_colorize.commands.slurm_options import resources
from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.errors import UsageError
from lightning_colorize.reports.sweep import dashboard_command, write_report
from lightning_colorize.sweeps import wandb
from lightning_colorize.sweeps.export import NoWinner, export_trials, export_winner
from lightning_colorize.sweeps.launch import batch_script, launch_workers, run_workers
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.spec import Sweep, read_sweep
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.study import SWEEP_FILE, Study, create_study, open_study
from lightning_colorize.sweeps.table import LiveTable, print_table
from lightning_colorize.sweeps.trial import expand

_SHOWN = 3
"""Number of trials whose commands a dry run prints."""

_SLURM = ("partition", "time", "cpus", "mem", "account", "qos", "sbatch")


def run(args: argparse.Namespace) -> int:
    """Check a sweep file, then run it with the selected engine."""
    _require(args)
    sweep = read_sweep(args.file)
    engine = _engine(args)
    configs = sweep_checks.check(sweep, args.file)
    for remark in sweep_checks.remarks(sweep, configs):
        print(f"{args.file}: {remark}", file=sys.stderr)
    root = args.root or Path("runs")
    if args.dry_run:
        if engine == "wandb" and args.launcher == "slurm":
            asked = resources(args, args.gpus_per_trial)
            print(wandb.batch_script(sweep, root, args.workers, asked))
            return 0
        return _dry_run(sweep, root.resolve() / sweep.name, args)
    if engine == "wandb" and args.launcher == "slurm":
        asked = resources(args, args.gpus_per_trial)
        return wandb.launch_wandb(sweep, root, args.workers, asked)
    if engine == "wandb":
        return wandb.run_wandb(sweep, args.workers, args.gpus_per_trial)
    study = create_study(sweep, root, args.storage, args.seed or 0, args.file)
    _refuse_stopped(study)
    return _work(study, args)


def join(args: argparse.Namespace) -> int:
    """Join an existing study as an additional worker."""
    _require(args)
    study = open_study(args.study, args.name)
    _refuse_stopped(study)
    _check_again(study)
    return _work(study, args)


def resume(args: argparse.Namespace) -> int:
    """Resume a study and run workers."""
    _require(args)
    study = open_study(args.study, args.name)
    _check_again(study)
    if not args.dry_run:
        study.resume()
        if args.retry_failed:
            print(f"failed trials queued again: {TrialQueue(study).retry_failed()}")
    return _work(study, args)


def status(args: argparse.Namespace) -> int:
    """Show all trials."""
    print_table(open_study(args.study, args.name))
    return 0


def stop(args: argparse.Namespace) -> int:
    """Stop all workers, on all machines."""
    study = open_study(args.study, args.name)
    study.stop(args.now)
    ends = "are interrupted" if args.now else "finish"
    print(f"{study.sweep.name}: no more trials start, running trials {ends}")
    print(f"resume    {study.command('resume')}")
    return 0


def export(args: argparse.Namespace) -> int:
    """Write the trials for other programs, and the best configuration for `fit`."""
    study = open_study(args.study, args.name)
    print(*export_trials(study), sep="\n")
    try:
        print(export_winner(study))
    except NoWinner as reason:
        print(f"no winner.yaml: {reason}", file=sys.stderr)
    return 0


def report(args: argparse.Namespace) -> int:
    """Write a page with the sweep's current state."""
    study = open_study(args.study, args.name)
    print(write_report(study, args.report_images))
    print(f"charts    {dashboard_command(study)}", file=sys.stderr)
    return 0


def _require(args: argparse.Namespace) -> None:
    """Refuse invalid options, and options that would be ignored."""
    if "://" not in (getattr(args, "storage", None) or "://"):
        raise UsageError(
            f"--storage {args.storage}: not a URL; use sqlite:///FILE or "
            "postgresql://USER@HOST/DATABASE; --root FOLDER sets the folder of the runs"
        )
    given = [name for name in _SLURM if getattr(args, name)]
    if given and args.launcher != "slurm":
        raise UsageError(f"--{given[0]} needs --launcher slurm; add that, or remove it")


def _engine(args: argparse.Namespace) -> Literal["local", "wandb"]:
    if args.engine == "local":
        return "local"
    given = [f"--{name}" for name in ("storage", "root", "seed") if getattr(args, name) is not None]
    if args.engine == "wandb":
        if args.launcher == "slurm" and "--root" in given:
            given.remove("--root")
        if given:
            raise UsageError(
                f"{given[0]}: W&B stores the study, and on this machine its trials choose their "
                "folders; remove it, or add --engine local"
            )
        return "wandb"
    # The nodes of a cluster may not reach W&B's server.
    given += ["--launcher slurm"] if args.launcher == "slurm" else []
    # Imports Lightning.
    from lightning_colorize.training.loggers.wandb_mode import wandb_mode

    if wandb_mode("auto").mode != "online":
        return "local"
    if given:
        print(f"engine    local because of {', '.join(given)}", file=sys.stderr)
    return "local" if given else "wandb"


def _refuse_stopped(study: Study) -> None:
    if study.stopped is not None:
        raise UsageError(f"{study.sweep.name} is stopped; resume it with {study.command('resume')}")


def _check_again(study: Study) -> None:
    """Check a sweep in the folder where its trials start, because this machine may differ."""
    if not study.start.is_dir():
        raise UsageError(
            f"{study.sweep.name} was started in {study.start}, which does not exist here; "
            "its trials start there, because fragment paths are relative to it"
        )
    with chdir(study.start):
        sweep_checks.check(study.sweep, study.folder / SWEEP_FILE)


def _dry_run(sweep: Sweep, folder: Path, args: argparse.Namespace) -> int:
    if args.launcher == "slurm":
        print(batch_script(folder, resources(args, args.gpus_per_trial)))
        return 0
    for values in islice(sweep_checks.variations(sweep), _SHOWN):
        print(shlex.join(expand(sweep, values)))
    return 0


def _work(study: Study, args: argparse.Namespace) -> int:
    """Run workers, and print and write the results; returns the exit code."""
    if args.dry_run:
        return _dry_run(study.sweep, study.folder, args)
    print(f"sweep     {study.sweep.name}: {study.shown}")
    print(f"runs      {study.folder}", flush=True)
    with LiveTable(study, args.workers) as table:
        if args.launcher == "local":
            code = run_workers(study, args.workers, args.gpus_per_trial, table.tick)
        else:
            asked = resources(args, args.gpus_per_trial)
            code = launch_workers(study, args.workers, asked, table.tick)
        if code < 128:
            table.hide()
    if code < 128:
        return _finish(study, failed=code != 0)
    if args.launcher == "local":  # Slurm jobs continue, which the launcher has printed
        print(f"resume    {study.command('resume')}", file=sys.stderr)
    return code


def _finish(study: Study, failed: bool) -> int:
    """Print and write the results of a sweep; returns the exit code, 1 if workers `failed`."""
    print_table(study)
    print(f"report    {write_report(study)}")
    print(f"charts    {dashboard_command(study)}")
    with suppress(NoWinner):
        print(f"winner    {COMMAND} fit --config {shlex.quote(str(export_winner(study)))}")
    lost = [row for row in rows(study) if row.state == "failed"]
    for row in lost:
        print(f"trial {row.number} failed: {row.reason}", file=sys.stderr)
    if lost:
        print(f"retry     {study.command('resume', '--retry-failed')}", file=sys.stderr)
    is_open = not TrialQueue(study).all_ended()
    if is_open:
        print(f"resume    {study.command('resume')}", file=sys.stderr)
    return int(failed or is_open or bool(lost))
