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

from lightning_colorize.cluster.batch import NOTICE, executor, parameters, step, submission
from lightning_colorize.cluster.queue import require_slurm
from lightning_colorize.commands.slurm_options import add_slurm_options, resources
from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.errors import UsageError

if TYPE_CHECKING:
    from submitit import SlurmExecutor

HELP = "train on one or several nodes of a Slurm cluster, and resume after any failure"

_SET_HERE = {
    "trainer.num_nodes": "--nodes sets it",
    "trainer.devices": "--gpus sets it",
    "trainer.accelerator": "--gpus sets it",
    "run.auto_resume": "it is always true here",
}


def main(words: list[str]) -> int:
    """Check the arguments of `fit`, then submit the job; return the exit code."""
    args, rest = _parser().parse_known_args(words)
    if args.time is None:
        raise UsageError("launch: --time LIMIT is needed: minutes (240) or HH:MM:SS (04:00:00)")
    made = executor(Path(), "launch")  # its folder is set later
    # Slurm may send the signal a minute early; leave some time for training.
    asked = parameters(resources(args, args.gpus), shortest=-(-args.notice // 60) + 3)
    asked["additional_parameters"]["signal"] = f"USR1@{args.notice}"
    made.update_parameters(nodes=args.nodes, ntasks_per_node=max(1, args.gpus), **asked)
    fit = _fit_words(args, rest)

    from lightning_colorize.runs.folder import is_running
    from lightning_colorize.runs.resuming import RunEnded
    from lightning_colorize.training.session import name_run

    try:
        folder = name_run(fit).folder.absolute()
    except RunEnded as ended:
        print(f"nothing to do: {ended}")
        return 0
    if is_running(folder):
        raise UsageError(f"another process is writing to {folder}")
    made.folder = folder / "slurm"
    made.update_parameters(job_name=f"{folder.parent.name}-{folder.name}")
    command = step([sys.executable, "-m", "lightning_colorize", "fit", *fit], args.cpus)
    if args.dry_run:
        print(made._make_submission_file_text(command, ""))
        return 0
    _submit(made, command)
    print(f"run       {folder}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="lightning-colorize launch",
        allow_abbrev=False,
        description="Submit a training job to Slurm from a login node. All other arguments are "
        "passed to fit and checked first, for example: lightning-colorize launch --nodes 2 "
        "--gpus 4 --time 24:00:00 --config experiments/cnn_unet.yaml --data.root photos. The run "
        "folder, the images and this installation must be on a file system that all nodes share.",
    )
    parser.add_int("--nodes", "number of nodes (default: 1)", default=1)
    text = "GPUs per node, with one process each; 0: one CPU process per node (default: 1)"
    parser.add_int("--gpus", text, 0, default=1, metavar="K")
    text = (
        "seconds before the time limit: training then finishes the current batch or validation, "
        f"writes a checkpoint and stops (default: {NOTICE})"
    )
    parser.add_int("--notice", text, default=NOTICE, metavar="SECONDS")
    parser.add_flag("--dry-run", "check, print the batch script, submit nothing")
    slurm = parser.add_argument_group("Slurm resources")
    add_slurm_options(
        slurm,
        cpus="CPU cores per process",
        time="required: minutes, or [D-]HH:MM:SS; at the limit, the job is requeued and resumes",
    )
    return parser


def _fit_words(args: argparse.Namespace, rest: list[str]) -> list[str]:
    """Return the arguments of `fit`: the given ones and those derived from `launch`'s."""
    options = {word.partition("=")[0] for word in rest}
    for key, said in _SET_HERE.items():
        if f"--{key}" in options:
            raise UsageError(f"--{key}: remove it, {said}")
    from lightning_colorize.training.session import check_words

    (config,) = check_words([rest], here=False)
    words = [*rest, "--trainer.num_nodes", str(args.nodes)]
    words += ["--trainer.devices", str(max(1, args.gpus))]
    words += ["--trainer.accelerator", "gpu" if args.gpus else "cpu"]
    if config.run.name is None:
        words += ["--run.name", f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid():x}"]
    return [*words, "--run.auto_resume", "true"]


def _submit(executor: "SlurmExecutor", command: str) -> None:
    """Submit and print the job; clean up if Slurm refuses it."""
    require_slurm("launch")
    was_there = executor.folder.is_dir()
    executor.folder.mkdir(parents=True, exist_ok=True)

    try:
        with submission():
            job = executor._submit_command(command)
    except UsageError:
        if not was_there:
            shutil.rmtree(executor.folder)
            with suppress(OSError):
                os.removedirs(executor.folder.parent)  # and empty parent folders
        raise
    print(f"job       {job.job_id}; scancel {job.job_id} ends it, with a checkpoint")
    print(f"log       {shlex.quote(str(job.paths.stdout))}")
