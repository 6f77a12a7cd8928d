"""`launch`: train on one or several nodes of a Slurm cluster."""

import argparse
import os
import shlex
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.cluster.step import NOTICE, signal_option, step
from lightning_colorize.commands.slurm_options import add_slurm_options, resources
from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.errors import UsageError

if TYPE_CHECKING:
    from submitit import SlurmExecutor

HELP = "train on one or several nodes of a Slurm cluster, and go on after any fault"

PROGRAM = "lightning-colorize launch"

_LIMIT = "needed: minutes, or [D-]HH:MM:SS; the job is requeued when it is up, and goes on"

_SET_HERE = {
    "trainer.num_nodes": "--nodes says it",
    "trainer.devices": "--gpus says it",
    "trainer.accelerator": "--gpus says it",
    "run.auto_resume": "it is always true here",
}


def main(words: list[str]) -> int:
    """Check what `fit` is to do, then submit it; returns the exit code."""
    args, rest = _parser().parse_known_args(words)
    _refuse_numbers(args)
    executor = _executor(args)
    fit = _fit_words(args, rest)

    from lightning_colorize.runs.folder import is_running
    from lightning_colorize.runs.resuming import RunEnded
    from lightning_colorize.training.checking import name_run

    try:
        folder = name_run(fit).folder.absolute()
    except RunEnded as ended:
        print(f"nothing to do: {ended}")
        return 0
    if is_running(folder):
        raise UsageError(f"another process is writing into {folder} now")
    executor.folder = folder / "slurm"
    executor.update_parameters(job_name=f"{folder.parent.name}-{folder.name}")
    command = step([sys.executable, "-m", "lightning_colorize", "fit", *fit], args.cpus)
    if args.dry_run:
        print(executor._make_submission_file_text(command, ""))
        return 0
    _submit(executor, command, args.partition)
    print(f"run       {folder}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Submit a training to Slurm, to be called on a login node. All other words are "
        "fit's: --config, --data.root, ... They are checked first. The run folder, the photographs "
        "and this installation must be on a file system that all nodes share.",
    )
    parser.add_argument("--nodes", metavar="N", type=int, default=1, help="(default: 1)")
    parser.add_argument(
        "--gpus",
        metavar="K",
        type=int,
        default=1,
        help="of each node, one process for each; 0: one process a node, on its CPU (default: 1)",
    )
    parser.add_argument(
        "--notice",
        metavar="SECONDS",
        type=int,
        default=NOTICE,
        help="before the limit, to end a batch, or a validation, and to write the checkpoint "
        f"(default: {NOTICE})",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check, print the batch script, submit nothing"
    )
    slurm = parser.add_argument_group("asked of Slurm")
    add_slurm_options(slurm, cpus="cores of each process", time=_LIMIT)
    return parser


def _refuse_numbers(args: argparse.Namespace) -> None:
    least = {"nodes": 1, "gpus": 0, "notice": 1, "cpus": 1}
    for name, smallest in least.items():
        value = getattr(args, name)
        if value is not None and value < smallest:
            raise UsageError(f"--{name} {value}: it must be {smallest} or more")
    if args.time is None:
        raise UsageError("launch: --time LIMIT is needed: minutes (240) or HH:MM:SS (04:00:00)")


def _executor(args: argparse.Namespace) -> "SlurmExecutor":
    """Return what makes and submits the batch script; where to is not known yet."""
    from lightning_colorize.cluster.batch import Resources, executor, parameters

    made = executor(Path(), "launch")
    # Slurm sends the signal up to a minute early; some time is to be left for training.
    shortest = -(-args.notice // 60) + 3
    asked = parameters(Resources(gpus=args.gpus, **resources(args)), "by launch", shortest)
    asked["additional_parameters"]["signal"] = signal_option(args.notice)
    made.update_parameters(nodes=args.nodes, ntasks_per_node=max(1, args.gpus), **asked)
    return made


def _fit_words(args: argparse.Namespace, rest: list[str]) -> list[str]:
    """Return the words after `fit`: those that were given, and what they do not say."""
    from lightning_colorize.training.messages import given

    settings = given(rest)
    for key, said in _SET_HERE.items():
        if key in settings and settings[key].place.startswith("--"):
            raise UsageError(f"--{key}: leave it out, {said}")
    words = [*rest, "--trainer.num_nodes", str(args.nodes)]
    words += ["--trainer.devices", str(max(1, args.gpus))]
    words += ["--trainer.accelerator", "gpu" if args.gpus else "cpu"]
    if settings["run.name"].value is None:
        words += ["--run.name", f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid():x}"]
    return [*words, "--run.auto_resume", "true"]


def _submit(executor: "SlurmExecutor", command: str, partition: str | None) -> None:
    """Submit, and say what became of it; if Slurm refuses, nothing is left behind."""
    from lightning_colorize.cluster.batch import submission
    from lightning_colorize.cluster.queue import require_slurm

    require_slurm("launch")
    was_there = executor.folder.is_dir()
    executor.folder.mkdir(parents=True, exist_ok=True)

    def undo() -> None:
        if not was_there:
            shutil.rmtree(executor.folder)
            with suppress(OSError):
                os.removedirs(executor.folder.parent)  # and those above, as far as they are empty

    with submission(partition, undo):
        job = executor._submit_command(command)
    print(f"job       {job.job_id}; scancel {job.job_id} ends it, with a checkpoint")
    print(f"log       {shlex.quote(str(job.paths.stdout))}")
