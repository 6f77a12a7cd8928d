"""Ctrl-C and SIGTERM end a run after the batch at work, with a checkpoint."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint


class RunInterrupted(BaseException):
    """The run was ended by a signal, and its checkpoint is written.

    Attributes:
        signal: Which.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number


class GracefulStop(Checkpoint):
    """Writes a checkpoint and ends the run when it is interrupted or terminated.

    Lightning's own reaction to Ctrl-C writes none and may stop in the middle of an optimiser's
    step; to SIGTERM it exits with 0. This one waits for the end of the batch. A second Ctrl-C stops
    at once. (A `Checkpoint`, because Lightning calls those after all other callbacks.)

    Args:
        path: The checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._received: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen; by now Lightning has set its own handlers."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._note)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save and leave if a signal came to any process."""
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(bool(self._received), all=False)
        else:
            stop = self._received is not None
        if stop:
            trainer.save_checkpoint(self.path)
            raise RunInterrupted(self._received or signal.SIGTERM)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop listening."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = signal.Signals(number)
        print(
            f"\n{self._received.name}: writing a checkpoint after this batch "
            "(Ctrl-C again stops at once)",
            file=sys.stderr,
        )
