"""Ctrl-C, SIGTERM and SIGUSR1 end a run after the current batch, with a checkpoint."""

import signal
import sys
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from lightning_colorize.common.processes import is_first_process
from lightning_colorize.training.callbacks.checkpoints import LastCheckpoint, resumable

# Clusters send SIGUSR1 before the time limit; Windows does not have it.
_SIGNALS = [s for s in signal.Signals if s.name in ("SIGINT", "SIGTERM", "SIGUSR1")]

_EVERY = 16  # batches between two synchronizations of signals


class RunInterrupted(BaseException):
    """A signal ended the run, after its checkpoint was written."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number


class GracefulStop(Checkpoint):
    """Writes a checkpoint and ends the run on a signal.

    On Ctrl-C, Lightning writes no checkpoint and may stop in the middle of an optimizer step; on
    SIGTERM it exits with 0. This callback waits for the end of the batch or validation; in the test
    it stops at the next batch. A second Ctrl-C stops immediately. (It is a `Checkpoint`, because
    Lightning calls those after all other callbacks.)

    Several processes synchronize signals every few batches and at the end of each epoch, as each
    time all GPUs wait for the slowest. `began`: whether this process has begun to train.
    """

    def __init__(self, last: LastCheckpoint) -> None:
        self.last = last
        self._unsynchronized = 0
        self._saved = False
        self.began = False
        self.received: signal.Signals | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the handlers, after Lightning has set its own; it restores all at the end."""
        self.began = True
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Share a signal that came too late to end the training."""
        self._is_signaled(trainer)

    on_test_start = on_train_start

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop the test; Lightning ends the other processes with rank 0."""
        self.stop_if_signaled()

    def stop_if_signaled(self) -> None:
        """End the run if a signal was received."""
        if self.received is not None:
            raise RunInterrupted(self.received)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if any process received a signal."""
        self._unsynchronized += 1
        if trainer.world_size > 1 and self._unsynchronized < _EVERY:
            return
        if not resumable(trainer, batch_idx):
            return
        self._unsynchronized = 0
        if self._is_signaled(trainer):
            self.last.save(trainer)
            self._saved = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Rely on the checkpoint of the epoch."""
        self._saved = self._is_signaled(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop; only here have the loggers received what the last batch logged."""
        if self._saved:
            self.stop_if_signaled()

    on_train_epoch_start = on_train_batch_start

    def _is_signaled(self, trainer: Trainer) -> bool:
        if trainer.world_size > 1:
            number = torch.tensor(self.received or 0, device=trainer.strategy.root_device)
            received = int(trainer.strategy.reduce(number, reduce_op="max"))
            self.received = signal.Signals(received) if received else None
        return self.received is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        if is_first_process():
            print(
                f"\n{self.received.name}: writing a checkpoint after this batch "
                "(Ctrl-C again stops immediately)",
                file=sys.stderr,
            )
