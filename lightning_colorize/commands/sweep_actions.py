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
from lightning_colorize.sweeps.export import NoWinner, export_trials, export_winner
from lightning_colorize.sweeps.launch import (
    Workers,
    batch_script,
    launch_workers,
    run_workers,
    workers_of,
)
from lightning_colorize.sweeps.spec import Sweep, expand, read_sweep
from lightning_colorize.sweeps.status import ProgressLines, print_table, rows
from lightning_colorize.sweeps.study import SWEEP_FILE, Study, create_study, open_study
from lightning_colorize.sweeps.wandb import agents_of, launch_wandb

_SHOWN = 3
"""Number of trials whose commands a dry run prints."""

_SLURM = ("partition", "time", "cpus", "mem", "account", "qos", "sbatch")


def run(args: argparse.Namespace) -> int:
    """Check a sweep file, then run it with the selected engine."""
    _require(args)
    sweep, root = read_sweep(args.file), args.root or Path("runs")
    engine = _engine(args)
    configs = sweep_checks.check(sweep, args.file)
    for remark in sweep_checks.remarks(sweep, configs):
        print(f"{args.file}: {remark}", file=sys.stderr)
    is_slurm = args.launcher == "slurm"
    if args.dry_run:
        agents = agents_of(sweep, root, args.workers) if engine == "wandb" else None
        return _dry_run(sweep, root.resolve() / sweep.name, args, agents)
    if engine == "wandb":
        asked = resources(args, args.gpus_per_trial) if is_slurm else None
        return launch_wandb(sweep, root, args.workers, args.gpus_per_trial, asked)
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
        study.stop(None)
        if args.retry_failed:
            print(f"failed trials queued again: {study.retry_failed()}")
    return _work(study, args)


def status(args: argparse.Namespace) -> int:
    """Show all trials."""
    study = open_study(args.study, args.name)
    study.recover()
    print_table(study)
    return 0


def stop(args: argparse.Namespace) -> int:
    """Stop all workers, on all machines."""
    study = open_study(args.study, args.name)
    study.stop("now" if args.now else "after")
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


ACTIONS = {each.__name__: each for each in (run, join, resume, status, stop, export, report)}


def _require(args: argparse.Namespace) -> None:
    """Refuse options that would be ignored, and a storage that is no URL."""
    storage = getattr(args, "storage", None)
    if storage is not None and "://" not in storage:
        raise UsageError(
            f"--storage {storage}: not a URL; use sqlite:///FILE or "
            "postgresql://USER@HOST/DATABASE; --root FOLDER sets the folder of the runs"
        )
    given = [name for name in _SLURM if getattr(args, name)]
    if given and args.launcher != "slurm":
        raise UsageError(f"--{given[0]} needs --launcher slurm; add that, or remove it")


def _engine(args: argparse.Namespace) -> Literal["local", "wandb"]:
    if args.engine == "local":
        return "local"
    given = [f"--{name}" for name in ("storage", "seed") if getattr(args, name) is not None]
    if args.engine == "wandb":
        if given:
            raise UsageError(f"{given[0]}: W&B stores the study; remove it, or add --engine local")
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


def _dry_run(
    sweep: Sweep, folder: Path, args: argparse.Namespace, agents: Workers | None = None
) -> int:
    """Print the batch script, or the commands of some trials."""
    if args.launcher == "slurm":
        workers = agents or workers_of(sweep.name, folder, args.workers)
        print(batch_script(workers, resources(args, args.gpus_per_trial)))
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
    tick = ProgressLines(study, args.workers).tick
    workers = workers_of(study.sweep.name, study.folder, args.workers, study.url, tick)
    if args.launcher == "local":
        code = run_workers(workers, args.gpus_per_trial)
    else:
        asked = resources(args, args.gpus_per_trial)
        code = launch_workers(workers, asked, lambda: bool(study.stopped) or study.all_ended())
    if code >= 128:
        print(f"stop      {study.command('stop')}", file=sys.stderr)
        print(f"resume    {study.command('resume')}", file=sys.stderr)
        return code
    return _finish(study)


def _finish(study: Study) -> int:
    """Print and write the results of a sweep; returns the exit code."""
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
    if is_open := not study.all_ended():
        print(f"resume    {study.command('resume')}", file=sys.stderr)
    return int(is_open or bool(lost))
