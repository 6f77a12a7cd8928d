"""`lightning-colorize sweep`: many runs from one file, locally, on a cluster or through W&B."""

import argparse
from typing import cast

from lightning_colorize.commands.slurm_options import add_slurm_options
from lightning_colorize.common.arguments import Parser

HELP = "run the trials of a sweep file locally, on a cluster or through W&B, and compare them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help_: str) -> Parser:
        return cast(Parser, actions.add_parser(name, help=help_, description=help_))

    run_ = action("run", "check a sweep file, then run its trials")
    run_.add_path("file", "FILE", "sweep file in W&B's schema")
    run_.add_argument(
        "--engine",
        choices=("auto", "local", "wandb"),
        default="auto",
        help="local: Optuna, without an account; wandb: W&B's agents; auto: wandb if logged in, "
        "without --launcher slurm and options that need local (default: auto)",
    )
    run_.add_path("--root", "FOLDER", "folder of the runs (default: runs)")
    run_.add_argument(
        "--storage",
        metavar="URL",
        help="sqlite:///FILE or postgresql://USER@HOST/DATABASE, which other machines can join "
        "(default: SQLite in the sweep's folder); keep the password in ~/.pgpass",
    )
    run_.add_int("--seed", "seed of random search (default: 0)", 0)
    text = "another sweep, whose finished trials of the same values and command are not run again"
    run_.add_argument("--reuse", metavar="FOLDER_OR_URL", help=text)
    _add_workers(run_)

    join = action("join", "run trials of an existing sweep as an additional worker")
    _add_study(join)
    _add_workers(join)

    resume = action("resume", "resume a stopped or killed sweep")
    _add_study(resume)
    resume.add_flag("--retry-failed", "queue failed trials again")
    _add_workers(resume)

    stop = action("stop", "let running trials finish, and start no more")
    _add_study(stop)
    stop.add_flag("--now", "interrupt running trials; sweep resume continues them")

    _add_study(action("status", "show all trials"))
    _add_study(action("export", "write the trials and the best trial's configuration"))

    report = action("report", "write the sweep's HTML page")
    _add_study(report)
    text = "validation images of the best trials on the page; 0 for none (default: 6)"
    report.add_int("--report-images", text, 0, default=6)


def run(args: argparse.Namespace) -> int:
    """Run the action; returns the exit code."""
    if args.action == "run":  # typos are found before imports that take seconds
        from lightning_colorize.commands.sweep_checks import require_files

        require_files(args.file)
    from lightning_colorize.commands.sweep_actions import ACTIONS

    return ACTIONS[args.action](args)


def _add_study(parser: Parser) -> None:
    parser.add_argument(
        "study", metavar="FOLDER_OR_URL", help="a sweep's folder, or the URL of its database"
    )
    parser.add_argument("--name", help="name of the sweep, if the database contains several")


def _add_workers(parser: Parser) -> None:
    parser.add_int("--workers", "number of trials to run in parallel", default=1)
    text = "visible GPUs per trial (default: all, divided among the workers)"
    parser.add_int("--gpus-per-trial", text, 0, metavar="K")
    parser.add_flag(
        "--dry-run", "check, print the commands of some trials or the batch script, run nothing"
    )
    parser.add_argument(
        "--launcher",
        choices=("local", "slurm"),
        default="local",
        help="run workers or W&B's agents on this machine, or each as a Slurm job (default: local)",
    )
    slurm = parser.add_argument_group("with --launcher slurm, for each worker")
    add_slurm_options(
        slurm, cpus="CPU cores", time="minutes, or [D-]HH:MM:SS; the job is then requeued"
    )
