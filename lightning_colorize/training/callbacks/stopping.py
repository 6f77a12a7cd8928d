"""What ends a run after a validation: early stopping, a request, or its budget."""

import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from lightning_colorize.metrics.spec import Goal
from lightning_colorize.runs.folder import is_stop_requested
from lightning_colorize.runs.validation_log import append_validation


class EarlyStop(EarlyStopping):
    """Lightning's EarlyStopping, for runs that are resumed.

    A resumed run takes its patience from its settings, not from the checkpoint. Without one, the
    validations without an improvement are still counted, for a run that is resumed with one. A
    metric that is nan, because the validation images do not define it, is no improvement.
    `restart`: a run that was stopped trains on; otherwise it was killed in its test, which is
    repeated.
    """

    def __init__(
        self, monitor: str, mode: Goal, patience: int | None, restart: bool = False
    ) -> None:
        super().__init__(
            monitor,
            mode=mode,
            patience=patience or sys.maxsize,
            check_finite=False,
            check_on_train_epoch_end=False,  # an interrupted epoch is not validated
        )
        self.restart = restart

    @property
    def stopped(self) -> bool:
        """Whether the run was stopped; `stopped_epoch` is 0 in the first epoch, too."""
        return self.stopping_reason != EarlyStoppingReason.NOT_STOPPED

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score and the count."""
        best = torch.as_tensor(state_dict["best_score"]).reshape(())
        super().load_state_dict(state_dict | {"patience": self.patience, "best_score": best})
        if self.restart and self.stopped:
            self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
            self.wait_count = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a run that was stopped."""
        trainer.should_stop = trainer.should_stop or self.stopped


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
