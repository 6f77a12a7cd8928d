"""`sweep run`, `join` and `resume`: the actions that run trials."""

import argparse
import shlex
import sys
from collections.abc import Callable
from contextlib import chdir
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lightning_colorize.commands.slurm_options import resources
from lightning_colorize.commands.sweep import ROOT
from lightning_colorize.common.arguments import require_not_negative, require_positive
from lightning_colorize.common.errors import UsageError

if TYPE_CHECKING:
    from lightning_colorize.sweeps.spec import Sweep
    from lightning_colorize.sweeps.study import Study

_SHOWN = 3
"""Number of trials whose commands a dry run prints."""

_LOCAL = {"storage": None, "root": Path(ROOT), "seed": 0, "launcher": "local"}
"""Options that W&B's engine lacks, and their defaults."""

_SLURM = ("partition", "time", "cpus", "mem", "account", "qos", "sbatch")


def run(args: argparse.Namespace) -> int:
    """Check a sweep file, then run it with the selected engine."""
    _require(args)
    from lightning_colorize.sweeps.spec import read_sweep

    sweep = read_sweep(args.file)
    engine = _engine(args)

    from lightning_colorize.commands.sweep_checks import check, remarks

    check(sweep, args.file)
    for remark in remarks(sweep):
        print(f"{args.file}: {remark}", file=sys.stderr)
    if args.dry_run:
        return _dry_run(sweep, args.root.resolve() / sweep.name, args)
    if engine == "wandb":
        from lightning_colorize.sweeps.wandb import run_wandb

        return run_wandb(sweep, args.workers, args.gpus_per_trial)

    from lightning_colorize.sweeps.study import create_study

    study = create_study(sweep, args.root, args.storage, args.seed, args.file)
    _refuse_stopped(study)
    return _work(study, args)


def join(args: argparse.Namespace) -> int:
    """Join an existing study as an additional worker."""
    _require(args)
    from lightning_colorize.sweeps.study import open_study

    study = open_study(args.study, args.name)
    _refuse_stopped(study)
    _check_again(study)
    return _work(study, args)


def resume(args: argparse.Namespace) -> int:
    """Resume a study and run workers."""
    _require(args)
    from lightning_colorize.sweeps.queue import TrialQueue
    from lightning_colorize.sweeps.study import open_study

    study = open_study(args.study, args.name)
    _check_again(study)
    if not args.dry_run:
        study.resume()
        if args.retry_failed:
            print(f"failed trials queued again: {TrialQueue(study).retry_failed()}")
    return _work(study, args)


def _require(args: argparse.Namespace) -> None:
    """Refuse invalid options, and options that would be ignored."""
    require_positive(args, "workers")
    require_not_negative(args, "gpus_per_trial")
    if "://" not in (getattr(args, "storage", None) or "://"):
        raise UsageError(
            f"--storage {args.storage}: not a URL; write sqlite:///FILE or "
            "postgresql://USER@HOST/DATABASE; --root FOLDER sets the folder of the runs"
        )
    given = [name for name in _SLURM if getattr(args, name)]
    if given and args.launcher != "slurm":
        raise UsageError(f"--{given[0]} is for --launcher slurm; give that too, or leave it out")


def _engine(args: argparse.Namespace) -> Literal["local", "wandb"]:
    if args.engine == "local":
        return "local"
    given = [
        f"--{name.replace('_', '-')}"
        for name, default in _LOCAL.items()
        if getattr(args, name) != default
    ]
    if args.engine == "wandb":
        if given:
            raise UsageError(
                f"{given[0]}: W&B stores the study, and its agents run here; "
                "leave it out, or give --engine local"
            )
        return "wandb"
    from lightning_colorize.training.loggers.wandb_mode import wandb_mode

    if wandb_mode("auto").mode != "online":
        return "local"
    if given:
        print(f"engine    local: W&B's lacks {', '.join(given)}", file=sys.stderr)
    return "local" if given else "wandb"


def _refuse_stopped(study: "Study") -> None:
    if study.stopped is not None:
        raise UsageError(f"{study.sweep.name} is stopped; resume it with {study.command('resume')}")


def _check_again(study: "Study") -> None:
    """Check a sweep in the folder where its trials start: this machine may differ."""
    from lightning_colorize.commands.sweep_checks import check
    from lightning_colorize.sweeps.study import SWEEP_FILE

    if not study.start.is_dir():
        raise UsageError(
            f"{study.sweep.name} was started in {study.start}, which does not exist here; "
            "its trials start there, because paths of fragments are relative to it"
        )
    with chdir(study.start):
        check(study.sweep, study.folder / SWEEP_FILE)


def _dry_run(sweep: "Sweep", folder: Path, args: argparse.Namespace) -> int:
    if args.launcher == "slurm":
        from lightning_colorize.sweeps.launch import batch_script

        print(batch_script(folder, resources(args, args.gpus_per_trial)))
        return 0
    from lightning_colorize.commands.sweep_checks import variations
    from lightning_colorize.sweeps.trial import expand

    for values in islice(variations(sweep), _SHOWN):
        print(shlex.join(expand(sweep, values)))
    return 0


def _work(study: "Study", args: argparse.Namespace) -> int:
    """Run workers and print the results; returns the exit code."""
    from lightning_colorize.commands.sweep_after import finish
    from lightning_colorize.sweeps.table import LiveTable

    if args.dry_run:
        return _dry_run(study.sweep, study.folder, args)
    print(f"sweep     {study.sweep.name}: {study.shown}")
    print(f"runs      {study.folder}", flush=True)
    with LiveTable(study, args.workers) as table:
        code = _run_workers(study, args, table.tick)
        if code < 128:
            table.hide()
    if code >= 128 and args.launcher == "slurm":
        return code  # the jobs continue; the launcher has printed how to end them
    if code >= 128:
        print(f"resume    {study.command('resume')}", file=sys.stderr)
        return code
    return finish(study, failed=code != 0)


def _run_workers(study: "Study", args: argparse.Namespace, tick: Callable[[], None]) -> int:
    if args.launcher == "local":
        from lightning_colorize.sweeps.launch import run_workers

        return run_workers(study, args.workers, args.gpus_per_trial, tick)
    from lightning_colorize.sweeps.launch import launch_workers

    asked = resources(args, args.gpus_per_trial)
    return launch_workers(study, args.workers, asked, tick)
