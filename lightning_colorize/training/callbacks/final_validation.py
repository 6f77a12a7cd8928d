"""A run that is stopped is validated once more: its last weights are often its best."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint


class FinalValidation(Checkpoint):
    """Lets a run end with a validation, whatever `check_val_every_n_epoch` says.

    Lightning validates the last epoch, and one that is stopped (by `max_time`, say), only if its
    turn has come, and never where `max_steps` ends a run in the middle of an epoch; all that was
    learnt since would be left out of best.ckpt. (A `Checkpoint`, because Lightning calls those
    after all other callbacks, the timer among them.)
    """

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Make it this epoch's turn if it is the last one."""
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # Lightning validates what is told to stop
        if trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1
