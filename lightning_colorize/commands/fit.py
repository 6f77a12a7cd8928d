"""`fit`: train in a new run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_colorize.training.cli import ColorizeCLI

HELP = "train an experiment in a new run folder"

PROGRAM = "lightning-colorize fit"


def main(words: list[str]) -> int:
    """Train as the words say; returns the exit code."""
    from lightning_colorize.common.processes import is_first_process
    from lightning_colorize.runs.folder import LAST
    from lightning_colorize.runs.naming import begun_trial
    from lightning_colorize.runs.resuming import RunEnded
    from lightning_colorize.training.session import quiet, session

    if (folder := begun_trial()) is not None:
        return resume_run(folder)
    quiet()
    try:
        with session(words, PROGRAM) as cli:
            train(cli, cli.folder / LAST if cli.resumed else None)
    except RunEnded as ended:
        if is_first_process():
            print(f"nothing to do: {ended}")
    return 0


def resume_run(folder: Path, overrides: Sequence[str] = ()) -> int:
    """Train on from a run's last checkpoint; returns the exit code.

    Args:
        folder: The run's.
        overrides: Changes to its configuration, as words.
    """
    from lightning_colorize.runs.folder import CONFIG, LAST
    from lightning_colorize.training.session import quiet, session

    quiet()
    with session(
        ["--config", str(folder / CONFIG), *overrides], "lightning-colorize resume", folder
    ) as cli:
        train(cli, folder / LAST)
    return 0


def train(cli: "ColorizeCLI", resume_from: Path | None = None) -> None:
    """Fit, measure the best checkpoint on the test split, and say what came out.

    Args:
        cli: The run.
        resume_from: The checkpoint to go on from.
    """
    import torch

    from lightning_colorize.evaluation import print_result
    from lightning_colorize.runs.folder import BEST
    from lightning_colorize.runs.result import RunResult

    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=resume_from, weights_only=True)
    if cli.best is None:
        return
    if cli.config_init.run.test and cli.datamodule.has("test"):
        cli.stop.leave_if_told()
        # Not through `ckpt_path`, which would set the callbacks back to that epoch too.
        best = cli.folder / BEST
        if best.is_file():
            checkpoint = torch.load(best, map_location="cpu", weights_only=True)
            cli.model.load_state_dict(checkpoint["state_dict"])
        cli.trainer.test(cli.model, cli.datamodule, verbose=False)
    result = RunResult.read(cli.folder)
    if cli.trainer.is_global_zero and result is not None:
        print_result(result, cli.folder)
