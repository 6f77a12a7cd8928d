"""`resume`: go on with a run that was stopped."""

import argparse
from pathlib import Path

from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import CONFIG, LAST, STOP
from lightning_colorize.runs.result import RunResult

HELP = "go on with a run that was interrupted or killed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", metavar="RUN", type=expanded_path, help="the run's folder")
    parser.add_argument(
        "overrides",
        metavar="--KEY VALUE",
        nargs=argparse.REMAINDER,
        help="changes to its configuration, such as --trainer.max_epochs 40 to train longer",
    )


def run(args: argparse.Namespace) -> int:
    """Go on in the same folder, W&B run and step; returns the exit code."""
    folder: Path = args.run
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} is not a run: it has no {CONFIG}")
    if not (folder / LAST).is_file():
        raise UsageError(f"nothing to resume: {folder} has no {LAST}; train it anew with fit")
    result = RunResult.read(folder)
    if result is not None and result.ended and not args.overrides:
        raise UsageError(
            f"nothing to resume: {folder} is {result.status.replace('_', ' ')}; "
            "to train longer add for instance --trainer.max_epochs N"
        )
    # What ended it then shall not end it again.
    (folder / STOP).unlink(missing_ok=True)
    from lightning_colorize.commands.fit import resume_run

    return resume_run(folder, args.overrides)
