"""The file of validations, and the request to stop."""

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.runs.folder import is_stop_requested
from lightning_colorize.runs.validation_log import append_validation


class ValidationLog(Callback):
    """Appends each validation to `validations.jsonl`; ends the run if the file `stop` exists.

    Rank 0 reads it and broadcasts it; `stopped` says whether the file ended the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopped = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line, then check for the file."""
        if trainer.sanity_checking:
            return
        if trainer.is_global_zero:
            values = {n: float(v) for n, v in trainer.callback_metrics.items() if n[:4] == "val/"}
            append_validation(self.folder, trainer.current_epoch, trainer.global_step, values)
        found = trainer.is_global_zero and is_stop_requested(self.folder)
        if trainer.strategy.reduce_boolean_decision(found, all=False):
            trainer.should_stop = self.stopped = True
