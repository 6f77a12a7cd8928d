"""Validates a run at its end."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint


class FinalValidation(Checkpoint):
    """Ends a run with a validation, regardless of its interval in epochs, batches or time.

    Otherwise Lightning may skip the validation of the last epoch, of one that `max_time` stops, and
    of one that `max_steps` ends early, and best.ckpt could not contain the last weights. (It is a
    `Checkpoint`, because Lightning calls those after all other callbacks, such as the timer.)
    """

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Validate after the last batch of the run."""
        is_last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.global_step == trainer.max_steps or (is_last_epoch and trainer.is_last_batch):
            trainer.should_stop = True  # Lightning validates before it stops
        if trainer.should_stop and trainer.check_val_every_n_epoch is not None:
            trainer.check_val_every_n_epoch = 1
