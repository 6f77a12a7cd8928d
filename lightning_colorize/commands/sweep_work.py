"""`sweep run`, `join` and `resume`: what makes trials run."""

import argparse
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from lightning_colorize.commands.parser import require_positive
from lightning_colorize.errors import UsageError

if TYPE_CHECKING:
    from lightning_colorize.search.study import Study
    from lightning_colorize.search.sweep_file import Sweep

_SHOWN = 3
"""Trials whose commands a dry run prints."""


def run(args: argparse.Namespace) -> int:
    """Check a sweep file, then run it with the engine that was asked for."""
    require_positive(args, "workers")
    from lightning_colorize.search.sweep_file import read_sweep

    sweep = read_sweep(args.file)
    engine = _engine(args.engine)
    if engine == "wandb" and args.storage is not None:
        raise UsageError("--storage: W&B keeps the study itself; leave it out, or --engine local")

    from lightning_colorize.commands.sweep_checks import check

    check(sweep, args.file)
    if args.dry_run and args.launcher == "local":
        return _dry_run(sweep, args.seed)
    if engine == "wandb":
        from lightning_colorize.search.wandb_engine import run_wandb

        return run_wandb(sweep, args.workers, args.gpus_per_trial)

    from lightning_colorize.search.study import create_study

    study = create_study(sweep, args.root, args.storage, args.seed, args.file)
    return _work(study, args)


def join(args: argparse.Namespace) -> int:
    """Run trials of a study that is there already, beside those who run others."""
    require_positive(args, "workers")
    from lightning_colorize.search.study import open_study

    return _work(open_study(args.place, args.name), args)


def resume(args: argparse.Namespace) -> int:
    """Let workers work again, and be some of them."""
    require_positive(args, "workers")
    from lightning_colorize.search.study import open_study

    study = open_study(args.place, args.name)
    study.resume()
    return _work(study, args)


def _engine(asked: Literal["auto", "local", "wandb"]) -> Literal["local", "wandb"]:
    if asked != "auto":
        return asked
    from lightning_colorize.wandb_mode import wandb_mode

    return "wandb" if wandb_mode("auto").mode == "online" else "local"


def _dry_run(sweep: "Sweep", seed: int) -> int:
    from lightning_colorize.commands.sweep_checks import examples
    from lightning_colorize.search.command import expand

    for values in examples(sweep, _SHOWN, seed):
        print(shlex.join(expand(sweep, values)))
    return 0


def _work(study: "Study", args: argparse.Namespace) -> int:
    """Run workers to the end and show what came out; returns the exit code."""
    from lightning_colorize.commands.sweep_after import finish
    from lightning_colorize.search.live import LiveTable

    if args.dry_run and args.launcher == "local":
        return _dry_run(study.sweep, study.seed)
    if study.stopped is not None:
        raise UsageError(
            f"{study.sweep.name} is stopped; lightning-colorize sweep resume {study.shown} goes on"
        )
    if args.dry_run:
        return _run_workers(study, args, tick=lambda: None)
    print(f"sweep     {study.sweep.name}: {study.shown}")
    print(f"runs      {study.folder}", flush=True)
    with LiveTable(study, args.workers) as table:
        code = _run_workers(study, args, table.tick)
    if code >= 128 and args.launcher == "slurm":
        return code  # the jobs go on, and the launcher has said how to end them
    if code >= 128:
        print(f"go on     lightning-colorize sweep resume {study.shown}", file=sys.stderr)
        return code
    return finish(study, args.report_pictures, failed=code != 0)


def _run_workers(study: "Study", args: argparse.Namespace, tick: Callable[[], None]) -> int:
    if args.launcher == "local":
        from lightning_colorize.search.workers import run_workers

        return run_workers(study, args.workers, args.gpus_per_trial, tick)
    from lightning_colorize.search.slurm import SlurmOptions, launch_workers

    options = SlurmOptions(
        partition=args.partition,
        time=args.time,
        gpus=args.gpus_per_trial,
        cpus=args.cpus,
        mem=args.mem,
        account=args.account,
        qos=args.qos,
        array=args.array,
        extra=dict(map(_option, args.sbatch)),
    )
    return launch_workers(study, args.workers, options, tick, dry_run=args.dry_run)


def _option(word: str) -> tuple[str, str | bool]:
    """Return name and value of an option of sbatch, which may have no value."""
    name, equals, value = word.lstrip("-").partition("=")
    return name, value if equals else True
