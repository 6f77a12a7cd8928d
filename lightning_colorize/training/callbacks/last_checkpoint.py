"""last.ckpt, from which a run goes on as if it had never stopped."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt every so many steps and at the end of each epoch.

    Lightning's ModelCheckpoint also writes where a resumed run would differ from one that was never
    stopped: between a batch and the validation that follows it (which is then left out), and at the
    end of an epoch that was cut short (`limit_train_batches`, `max_time`), whose rest would then be
    trained. This one waits for the next batch, and closes the loader's epoch.

    Args:
        path: The file.
        every_n_steps: Steps of the optimiser.
    """

    def __init__(self, path: Path, every_n_steps: int) -> None:
        self.path = path
        self.every_n_steps = every_n_steps
        self._saved_step = 0
        self._max_steps: int | None = None

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Hide `max_steps` while Lightning finds out where the run was.

        With it, Lightning takes any run for one that was stopped in mid-epoch, and would end a
        finished epoch a second time.
        """
        self._max_steps = trainer.max_steps
        trainer.fit_loop.epoch_loop.max_steps = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps = self._max_steps
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save when it is time."""
        due = trainer.global_step - self._saved_step >= self.every_n_steps
        if due and resumable(trainer, batch_idx):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; the epoch is over, however many of its batches were trained."""
        loader: Any = trainer.train_dataloader
        loader.end_epoch()
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the file."""
        trainer.save_checkpoint(self.path)
        self._saved_step = trainer.global_step


def resumable(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether a checkpoint at the end of this batch resumes exactly.

    Not so where a validation follows, nor with gradients that no optimiser has seen yet.
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
