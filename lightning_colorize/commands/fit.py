"""`fit`: train in a new run folder."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_colorize.training import ColorizeCLI

HELP = "train an experiment in a new run folder"

PROGRAM = "lightning-colorize fit"


def main(words: list[str]) -> int:
    """Train as the words say; returns the exit code."""
    from lightning_colorize.commands.resume import go_on
    from lightning_colorize.commands.session import quiet, session
    from lightning_colorize.processes import is_first_process
    from lightning_colorize.run_folder import LAST
    from lightning_colorize.run_naming import begun_trial
    from lightning_colorize.run_restart import RunEnded

    if (folder := begun_trial()) is not None:
        return go_on(folder)
    quiet()
    try:
        with session(words, PROGRAM) as cli:
            train(cli, cli.folder / LAST if cli.resumed else None)
    except RunEnded as ended:
        if is_first_process():
            print(f"nothing to do: {ended}")
    return 0


def train(cli: "ColorizeCLI", resume_from: Path | None = None) -> None:
    """Fit, measure the best checkpoint on the test split, and say what came out.

    Args:
        cli: The run.
        resume_from: The checkpoint to go on from.
    """
    import torch

    from lightning_colorize.evaluation import print_result
    from lightning_colorize.run_folder import BEST, read_result

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
    result = read_result(cli.folder)
    if cli.trainer.is_global_zero and result is not None:
        print_result(result, cli.folder)
