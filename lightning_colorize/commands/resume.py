"""`resume`: continue an interrupted run."""

import argparse
from pathlib import Path

from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.artifacts import is_artifact
from lightning_colorize.runs.folder import CONFIG, LAST, has_checkpoint
from lightning_colorize.runs.result import RunResult
from lightning_colorize.runs.resuming import download_run

HELP = "continue an interrupted or killed run in the same folder and W&B run"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_path(
        "run",
        "RUN",
        "the run folder, or wandb:ENTITY/PROJECT/ARTIFACT:last, which is downloaded to "
        "runs/EXPERIMENT/NAME first",
    )
    parser.add_argument(
        "overrides",
        metavar="--KEY VALUE",
        nargs=argparse.REMAINDER,
        help="configuration overrides; to train a finished run longer: "
        "lightning-colorize resume runs/cnn_unet/first --trainer.max_epochs 40",
    )


def run(args: argparse.Namespace) -> int:
    """Resume in the same folder, W&B run and step; return the exit code."""
    folder: Path = args.run
    if is_artifact(folder):
        folder = download_run(folder, Path("runs"))
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} is not a run folder: it has no {CONFIG}")
    if not has_checkpoint(folder):
        raise UsageError(f"nothing to resume: {folder} has no {LAST}; start over with fit")
    result = RunResult.read(folder)
    if result is not None and result.ended and not args.overrides:
        raise UsageError(
            f"nothing to resume: {folder} is {result.status.replace('_', ' ')}; "
            "to train longer, add --trainer.max_epochs N, or --trainer.max_time null if it ended it"
        )
    from lightning_colorize.commands.fit import resume_run

    return resume_run(folder, args.overrides)
