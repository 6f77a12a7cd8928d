"""The validations of a run: the last one, and the files by which a sweep follows and stops it."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn

from lightning_colorize.runs.folder import is_stop_requested
from lightning_colorize.runs.validations import append_validation


class Validations(Callback):
    """Appends each validation to `validations.jsonl`; ends the run if the file `stop` exists.

    Rank 0 reads it and broadcasts it.

    Attributes:
        stopped: Whether the file ended the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopped = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line, then check for the file."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.is_global_zero:
            values = {n: float(v) for n, v in trainer.callback_metrics.items() if n[:4] == "val/"}
            append_validation(self.folder, trainer.current_epoch, trainer.global_step, values)
        found = trainer.is_global_zero and is_stop_requested(self.folder)
        if trainer.strategy.reduce_boolean_decision(found, all=False):
            trainer.should_stop = self.stopped = True


class FinalValidation(Checkpoint):
    """Ends a run with a validation, regardless of its interval in epochs, batches or time.

    Otherwise Lightning may skip it, and best.ckpt could not contain the last weights. (Lightning
    calls a `Checkpoint` after all other callbacks, such as the timer of `max_time`.)
    """

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Validate after the last batch of the run."""
        is_last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.global_step == trainer.max_steps or (is_last_epoch and trainer.is_last_batch):
            trainer.should_stop = True  # Lightning validates before it stops
        if trainer.should_stop and trainer.check_val_every_n_epoch is not None:
            trainer.check_val_every_n_epoch = 1
