"""Ctrl-C, SIGTERM and SIGUSR1 end a run after the batch at work, with a checkpoint."""

import signal
import sys
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from lightning_colorize.common.processes import is_first_process
from lightning_colorize.training.callbacks.last_checkpoint import LastCheckpoint, resumable

# SIGUSR1 is how a cluster says that the time is nearly up; Windows has none.
_LISTENED_TO = [
    *(signal.SIGINT, signal.SIGTERM),
    *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []),
]


class RunInterrupted(BaseException):
    """The run was ended by a signal, and its checkpoint is written.

    Attributes:
        signal: Which.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number


class GracefulStop(Checkpoint):
    """Writes a checkpoint and ends the run when it is interrupted, terminated, or out of time.

    Lightning's own reaction to Ctrl-C writes none and may stop in the middle of an optimiser's
    step; to SIGTERM it exits with 0. This one waits for the end of the batch, or of the validation
    that is at work; in the test it leaves at the next batch. A second Ctrl-C stops at once. (A
    `Checkpoint`, because Lightning calls those after all other callbacks.)

    Several processes ask one another whether a signal came only after so many batches, once a
    checkpoint can be written, and at the end of each epoch: each time, a GPU waits for the slowest
    of them.

    Args:
        last: Writes the checkpoint.
        every_n_batches: After how many batches several processes ask.

    Attributes:
        received: The signal that came.
    """

    def __init__(self, last: LastCheckpoint, every_n_batches: int = 16) -> None:
        self.last = last
        self.every_n_batches = every_n_batches
        self._unasked = 0
        self._saved = False
        self.received: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen; by now Lightning has set its own handlers."""
        for number in _LISTENED_TO:
            self._former[number] = signal.signal(number, self._note)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let all processes know what came to one of them too late to end the training."""
        self._is_told_to_stop(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen again."""
        self.on_train_start(trainer, pl_module)

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Leave; of several processes, the others end with the first one."""
        self.leave_if_told()

    def leave_if_told(self) -> None:
        """End the run if a signal has come.

        Raises:
            RunInterrupted: If so.
        """
        if self.received is not None:
            raise RunInterrupted(self.received)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save if a signal came to any process."""
        self._unasked += 1
        if trainer.world_size > 1 and self._unasked < self.every_n_batches:
            return
        if not resumable(trainer, batch_idx):
            return
        self._unasked = 0
        if self._is_told_to_stop(trainer):
            self.last.save(trainer)
            self._saved = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note that the epoch's own checkpoint will do."""
        self._saved = self._is_told_to_stop(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Leave: not before here is what the last batch has logged with the loggers."""
        self._leave_if_saved()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave."""
        self._leave_if_saved()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop listening."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _is_told_to_stop(self, trainer: Trainer) -> bool:
        if trainer.world_size > 1:
            number = torch.tensor(self.received or 0, device=trainer.strategy.root_device)
            received = int(trainer.strategy.reduce(number, reduce_op="max"))
            self.received = signal.Signals(received) if received else None
        return self.received is not None

    def _leave_if_saved(self) -> None:
        if self._saved:
            self.leave_if_told()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        if is_first_process():
            print(
                f"\n{self.received.name}: writing a checkpoint after this batch "
                "(Ctrl-C again stops at once)",
                file=sys.stderr,
            )
