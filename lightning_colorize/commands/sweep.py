"""`lightning-colorize sweep`: many trainings from one file, with an account or without."""

import argparse
from collections.abc import Callable
from importlib import import_module

from lightning_colorize.commands.slurm_options import add_slurm_options
from lightning_colorize.common.arguments import expanded_path

HELP = "train what a sweep file describes, here, on a cluster or through W&B; compare the outcome"

ROOT, IMAGES = "runs", 6
"""What is meant where the options are not given."""

_PLACE = "a sweep's folder, or the URL of the database that its study is in"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help_: str, module: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help_, description=help_)
        added.set_defaults(module=module)
        return added

    run_ = action("run", "check a sweep file, then run its trials", "sweep_work")
    run_.add_argument("file", metavar="FILE", type=expanded_path, help="in W&B's schema")
    run_.add_argument(
        "--engine",
        choices=("auto", "local", "wandb"),
        default="auto",
        help="who chooses the trials: W&B, or Optuna on this machine; auto: W&B where logged in",
    )
    run_.add_argument(
        "--root", metavar="FOLDER", type=expanded_path, default=ROOT, help="folder of all runs"
    )
    run_.add_argument(
        "--storage",
        metavar="URL",
        help="keep the study in sqlite:///FILE or postgresql://USER@HOST/DATABASE, which other "
        "machines can join (default: a journal in the sweep's folder); a password is best left to "
        "~/.pgpass",
    )
    run_.add_argument("--seed", metavar="N", type=int, default=0, help="of what is drawn")
    _add_workers(run_)

    join = action("join", "run trials of a sweep that was begun elsewhere", "sweep_work")
    _add_place(join)
    _add_workers(join)

    resume = action("resume", "go on with a sweep that was stopped or killed", "sweep_work")
    _add_place(resume)
    resume.add_argument(
        "--retry-failed", action="store_true", help="try the trials that failed once more"
    )
    _add_workers(resume)

    stop = action("stop", "let the trials that run end, and begin no others", "sweep_after")
    _add_place(stop)
    stop.add_argument(
        "--now", action="store_true", help="interrupt them; sweep resume goes on with them"
    )

    status = action("status", "show all trials", "sweep_after")
    _add_place(status)

    export = action("export", "write the trials, or the winner's configuration", "sweep_after")
    _add_place(export)
    export.add_argument(
        "--to",
        metavar="FILE",
        type=expanded_path,
        action="append",
        help="trials.csv, trials.json, or winner.yaml, which fit takes; may be given several times "
        "(default: all three in the sweep's folder, each time anew)",
    )
    export.add_argument("--overwrite", action="store_true", help="replace files that are there")

    report = action("report", "write the sweep's page anew", "sweep_after")
    _add_place(report)
    _add_images(report)


def run(args: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code."""
    module = import_module(f"lightning_colorize.commands.{args.module}")
    do: Callable[[argparse.Namespace], int] = getattr(module, args.action)
    return do(args)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="FOLDER_OR_URL", help=_PLACE)
    parser.add_argument("--name", help="which of several sweeps in a database")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers", metavar="N", type=int, default=1, help="trials that run at the same time"
    )
    parser.add_argument(
        "--gpus-per-trial",
        metavar="K",
        type=int,
        help="GPUs that each trial sees (default: the visible ones are shared out)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check, print the first trials' commands or the batch script, and run nothing",
    )
    parser.add_argument(
        "--launcher",
        choices=("local", "slurm"),
        default="local",
        help="where workers run: on this machine, or each in an allocation of a Slurm cluster",
    )
    slurm = parser.add_argument_group("with --launcher slurm, for each worker")
    add_slurm_options(slurm, cpus="cores", time="minutes, or [D-]HH:MM:SS; then requeued")
    slurm.add_argument("--array", action="store_true", help="one job array rather than jobs")
    _add_images(parser)


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report-images",
        metavar="N",
        type=int,
        default=IMAGES,
        help="validation images that the page shows of the best trials; 0 for none",
    )
