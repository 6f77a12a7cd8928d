"""The actions of `sweep`, imported after their arguments are parsed."""

import argparse
import shlex
import shutil
import sys
from contextlib import chdir, suppress
from pathlib import Path
from typing import Literal

from lightning_colorize.commands import sweep_checks
from lightning_colorize.commands.slurm_options import NAMES, resources
from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.evaluation.report import color_command
from lightning_colorize.reports.sweep import dashboard_command, write_report
from lightning_colorize.runs.folder import flatten, read_config
from lightning_colorize.sweeps.command_line import short_option
from lightning_colorize.sweeps.export import NoWinner, export_trials, export_winner
from lightning_colorize.sweeps.launch import WorkerOptions, preview, run_workers, workers_of
from lightning_colorize.sweeps.space import as_key
from lightning_colorize.sweeps.spec import read_sweep
from lightning_colorize.sweeps.status import ProgressLines, leaderboard, print_table, rows
from lightning_colorize.sweeps.study import (
    SWEEP_FILE,
    Study,
    create_study,
    database_message,
    differences,
    is_database_error,
    open_study,
)
from lightning_colorize.sweeps.wandb import agents_of, launch_wandb


def run(args: argparse.Namespace) -> int:
    """Check a sweep file, then run it with the selected engine."""
    engine, options = _engine(args), _worker_options(args)
    sweep, root = read_sweep(args.file), args.root or Path("runs")
    commands, remarks = sweep_checks.check(sweep, args.file, options.slurm is None)
    for remark in remarks:
        print(f"{args.file}: {remark}", file=sys.stderr)
    if engine == "wandb":
        workers = agents_of(sweep, root, options)
    else:
        workers = workers_of(sweep.name, root.resolve() / sweep.name, options)
    plan = preview(workers, commands)
    if args.dry_run:
        print(plan)
        return 0
    if engine == "wandb":
        return launch_wandb(sweep, root, options)
    other = None if args.reuse is None else open_study(args.reuse)
    study = create_study(sweep, root, args.storage, args.seed or 0, args.file)
    _refuse_stopped(study)
    if other is not None:
        print(f"reused    {_reuse(study, other)} finished trials of {args.reuse}")
    return _work(study, options)


def join(args: argparse.Namespace) -> int:
    """Run workers of an existing study; `sweep resume` also if it is stopped."""
    options, study = _worker_options(args), open_study(args.study, args.name)
    if args.action == "join":
        _refuse_stopped(study)
    plan = _check_again(study, options)
    if args.dry_run:
        print(plan)
        return 0
    if args.action == "resume":
        study.stop(None)
        if args.retry_failed:
            print(f"failed trials queued again: {study.retry_failed()}")
    return _work(study, options)


def status(args: argparse.Namespace) -> int:
    """Show all trials."""
    study = open_study(args.study, args.name)
    study.recover()
    print_table(study)
    if study.stopped and not study.all_ended():
        print(f"stopped   resume with {study.command('resume')}")
    return 0


def stop(args: argparse.Namespace) -> int:
    """Stop all workers, on all machines."""
    study = open_study(args.study, args.name)
    study.stop("now" if args.now else "after")
    ends = "running trials are interrupted" if args.now else "running trials finish"
    runs = any(row.state == "running" for row in rows(study))
    print(f"{study.sweep.name}: no more trials start, {ends if runs else 'none is running'}")
    print(f"resume    {study.command('resume')}")
    return 0


def export(args: argparse.Namespace) -> int:
    """Write the trials for other programs, and the best configuration for `fit`."""
    study = open_study(args.study, args.name)
    study.recover()
    print(*export_trials(study), sep="\n")
    try:
        print(export_winner(study))
    except NoWinner as reason:
        print(f"no winner.yaml: {reason}", file=sys.stderr)
    return 0


def report(args: argparse.Namespace) -> int:
    """Write a page with the sweep's current state."""
    study = open_study(args.study, args.name)
    study.recover()
    print(write_report(study, args.report_images))
    print(f"charts    {dashboard_command(study)}", file=sys.stderr)
    return 0


ACTIONS = {each.__name__: each for each in (run, join, status, stop, export, report)}
ACTIONS["resume"] = join


def _worker_options(args: argparse.Namespace) -> WorkerOptions:
    is_slurm = args.launcher == "slurm"
    given = [name for name in NAMES if getattr(args, name)]
    if given and not is_slurm:
        raise UsageError(f"--{given[0]} needs --launcher slurm; add that, or remove it")
    asked = resources(args, args.gpus_per_trial) if is_slurm else None
    return WorkerOptions(args.workers, args.gpus_per_trial, asked)


def _engine(args: argparse.Namespace) -> Literal["local", "wandb"]:
    if args.storage is not None and "://" not in args.storage:
        raise UsageError(
            f"--storage {args.storage}: not a URL; use sqlite:///FILE or "
            "postgresql://USER@HOST/DATABASE; --root FOLDER sets the folder of the runs"
        )
    if args.engine == "local":
        return "local"
    given = [
        f"--{name}" for name in ("storage", "seed", "reuse") if getattr(args, name) is not None
    ]
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


def _reuse(study: Study, other: Study) -> int:
    """Copy the run folders of another sweep's finished trials to waiting ones of the same values.

    A worker takes the results from there. A parameter that the other sweep lacks, such as a seed,
    has the value of the trial's configuration. Returns the number of trials.
    """
    if (study.sweep.command, study.sweep.program) != (other.sweep.command, other.sweep.program):
        raise UsageError(f"--reuse {other.shown}: its trials have another command")
    count = 0
    finished = [row for row in rows(other) if row.state == "finished"]
    known = [flatten(read_config(row.folder)) | row.values for row in finished]
    settings = [{short_option(name): as_key(each[name]) for name in each} for each in known]
    for row in rows(study):
        values = {short_option(name): as_key(value) for name, value in row.values.items()}
        for old, its in zip(finished, settings, strict=True):
            is_same = values.items() <= its.items() and old.values.keys() <= row.values.keys()
            if is_same and row.values and row.state == "waiting" and not row.folder.exists():
                shutil.copytree(old.folder, row.folder)
                count += 1
    return count


def _refuse_stopped(study: Study) -> None:
    if study.stopped is not None:
        raise UsageError(f"{study.sweep.name} is stopped; resume it with {study.command('resume')}")


def _check_again(study: Study, options: WorkerOptions) -> str:
    """Check a sweep in the folder where its trials start, because this machine may differ."""
    if not study.start.is_dir():
        raise UsageError(
            f"{study.sweep.name} was started in {study.start}, which does not exist here; "
            "its trials start there, because fragment paths are relative to it"
        )
    study.require_writable()
    file = study.folder / SWEEP_FILE
    if file.is_file() and (edits := differences(study.sweep.source, read_sweep(file).source)):
        raise UsageError(
            f"{file} was edited, which the sweep ignores: {edits}; undo that, or run it under "
            f"another `name:` with sweep run --reuse {study.shown}"
        )
    with chdir(study.start):
        commands, _ = sweep_checks.check(study.sweep, file, options.slurm is None)
    return preview(workers_of(study.sweep.name, study.folder, options), commands)


def _work(study: Study, options: WorkerOptions) -> int:
    """Run workers, and print and write the results; returns the exit code."""
    print(f"sweep     {study.sweep.name}: {study.shown}")
    print(f"runs      {study.folder}", flush=True)
    tick = ProgressLines(study, options.count).tick
    workers = workers_of(study.sweep.name, study.folder, options, study.url)
    try:
        code = run_workers(workers, tick, study.is_over)
        if code < 128:
            return _finish(study)
    except Exception as error:  # such as a full disk
        if not isinstance(error, OSError) and not is_database_error(error):
            raise
        again = study.command("resume", "--retry-failed")
        raise WorkError(f"{database_message(error)}; when that is fixed: {again}") from error
    print(f"stop      {study.command('stop')}", file=sys.stderr)
    print(f"resume    {study.command('resume')}", file=sys.stderr)
    return code


def _finish(study: Study) -> int:
    """Print and write the results of a sweep; returns the exit code."""
    print_table(study)
    print(f"report    {write_report(study)}")
    print(f"charts    {dashboard_command(study)}")
    with suppress(NoWinner):
        print(f"winner    {COMMAND} fit --config {shlex.quote(str(export_winner(study)))}")
        best = leaderboard(rows(study), study.sweep.mode)[0].trials[0].folder
        print(f"color     {color_command(best)}")
    lost = [row for row in rows(study) if row.state == "failed"]
    for row in lost:
        print(f"trial {row.number} failed: {row.reason}", file=sys.stderr)
    if lost:
        print(f"retry     {study.command('resume', '--retry-failed')}", file=sys.stderr)
    if is_open := not study.all_ended():
        print(f"resume    {study.command('resume')}", file=sys.stderr)
    return int(is_open or bool(lost))
