"""Writes last.ckpt, from which a run resumes exactly."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt every few steps and at the end of each epoch.

    Lightning's ModelCheckpoint also writes where a resumed run would differ: between a batch and
    its validation, which would be skipped, and at the end of a shortened epoch
    (`limit_train_batches`, `max_time`), whose remaining batches would be trained. This callback
    waits for the next batch, and ends the loader's epoch.
    """

    def __init__(self, path: Path, every_n_steps: int) -> None:
        self.path = path
        self.every_n_steps = every_n_steps
        self._saved_step = 0
        self._max_steps: int | None = None

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Hide `max_steps` while Lightning restores its loops.

        With it, Lightning assumes that the run stopped in mid-epoch, and would end a finished epoch
        twice.
        """
        self._max_steps = trainer.max_steps
        trainer.fit_loop.epoch_loop.max_steps = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting steps."""
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps = self._max_steps
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time."""
        due = trainer.global_step - self._saved_step >= self.every_n_steps
        if due and resumable(trainer, batch_idx):
            self.save_batch(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; the epoch has ended, even if some of its batches were not trained."""
        loader: Any = trainer.train_dataloader
        loader.end_epoch()
        self.save(trainer)

    def save_batch(self, trainer: Trainer) -> None:
        """Write the file at the end of a batch whose metrics are not logged yet.

        Lightning logs them after `on_train_batch_end`. If the process were killed in between, the
        resumed run would never log them; so they are logged before. Lightning then logs them again,
        which `metrics.csv` writes once and TensorBoard draws at the same point.
        """
        trainer._logger_connector.update_train_step_metrics()
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the file."""
        trainer.save_checkpoint(self.path)
        self._saved_step = trainer.global_step


def resumable(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether a checkpoint at the end of this batch resumes exactly.

    It does not before a validation, nor with accumulated gradients.
    """
    if trainer.is_last_batch or trainer.should_stop:
        return False
    if (batch_idx + 1) % trainer.accumulate_grad_batches:
        return False
    interval = trainer.val_check_batch
    if interval is None:
        return True
    per_epoch = trainer.check_val_every_n_epoch is not None
    done = batch_idx if per_epoch else trainer.fit_loop.total_batch_idx
    return bool((done + 1) % interval)
