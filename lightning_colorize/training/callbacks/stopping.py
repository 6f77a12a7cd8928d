"""What ends a run: early stopping, its budget, a signal, or divergence."""

import math
import signal
import sys
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from torch import Tensor

from lightning_colorize.common.errors import WorkError
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.metrics.spec import Goal
from lightning_colorize.models.checkpoint import first_not_finite, optimizer_states
from lightning_colorize.tasks.optimization import is_logged
from lightning_colorize.training.callbacks.checkpoints import LastCheckpoint, resumable


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


# Clusters send SIGUSR1 before the time limit; Windows does not have it.
_SIGNALS = [s for s in signal.Signals if s.name in ("SIGINT", "SIGTERM", "SIGUSR1")]

_BATCHES_PER_SYNC = 16  # batches between two synchronizations of signals and clocks


class RunInterrupted(BaseException):
    """A signal ended the run, after its checkpoint was written."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number


class GracefulStop(Checkpoint):
    """Writes a checkpoint when it is time, and on a signal, which ends the run.

    On Ctrl-C, Lightning writes no checkpoint and may stop in the middle of an optimizer step; on
    SIGTERM it exits with 0. This callback waits for the end of the batch or validation; in the test
    it stops at the next batch. A second Ctrl-C stops immediately. (It is a `Checkpoint`, because
    Lightning calls those after all other callbacks.)

    Several processes synchronize signals and clocks every few batches and at the end of each epoch,
    as each time all GPUs wait for the slowest. `began`: whether this process has begun to train.
    """

    def __init__(self, last: LastCheckpoint) -> None:
        self.last = last
        self._unsynchronized = 0
        self._saved = self.began = False
        self.received: signal.Signals | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the handlers, after Lightning has set its own; it restores all at the end."""
        self.began = True
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Share a signal that came too late to end the training."""
        self._synchronize(trainer)

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
        """Save if it is time, or if any process received a signal."""
        self._unsynchronized += 1
        if trainer.world_size > 1 and self._unsynchronized < _BATCHES_PER_SYNC:
            return
        if not resumable(trainer, batch_idx):
            return
        self._unsynchronized = 0
        self._saved, is_due = self._synchronize(trainer)
        if self._saved or is_due:
            self.last.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Rely on the checkpoint of the epoch."""
        self._saved, _ = self._synchronize(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop; only here have the loggers received what the last batch logged."""
        if self._saved:
            self.stop_if_signaled()

    on_train_epoch_start = on_train_batch_start

    def _synchronize(self, trainer: Trainer) -> tuple[bool, bool]:
        """Return whether a signal was received and whether a checkpoint is due, in any process."""
        received, is_due = int(self.received or 0), self.last.is_due
        if trainer.world_size > 1:
            state = torch.tensor([received, is_due], device=trainer.strategy.root_device)
            received, is_due = trainer.strategy.reduce(state, reduce_op="max").tolist()
        if received:  # one that arrives just now waits for the next call
            self.received = signal.Signals(received)
        return received > 0, bool(is_due)

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


_LOSSES_PER_CHECK = 50  # at least


class TrainingDiverged(WorkError):
    """A loss, prediction or weight is not finite."""


class FiniteTraining(Callback):
    """Ends a run whose losses, predictions or weights are not finite.

    Predictions and their loss are checked in each validation, and weights before they are saved: a
    checkpoint is never replaced by one that is not finite. In between, a run ends when no loss of
    many batches is finite. A few such losses do no harm: 16-mixed precision skips their steps.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[int, Tensor]] = []  # with their steps
        self._last = "none"
        self._diverged: str | None = None
        self._predicted: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Keep the loss; check if it is time."""
        if "loss" in (outputs or {}):  # not in a step of the discriminator alone
            self._losses.append((trainer.global_step, outputs["loss"]))
            if len(self._losses) >= _LOSSES_PER_CHECK and is_logged(trainer):
                self._check(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Remember whether the predictions are finite."""
        self._predicted.append(outputs.isfinite().all())

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before the predictions are used."""
        finite = not self._predicted or bool(torch.stack(self._predicted).all())
        self._predicted = []
        self._check(trainer, None if finite else "predictions are")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the loss of the validation before a checkpoint is chosen by it."""
        loss = trainer.callback_metrics["val/loss"]
        self._check(trainer, None if loss.isfinite() else "val/loss is")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the weights and the state of the optimizers."""
        name = first_not_finite(checkpoint["state_dict"] | optimizer_states(checkpoint))
        self._check(trainer, None if name is None else f"{name} is")

    def _check(self, trainer: Trainer, what: str | None = None) -> None:
        """End the run if something, or each of many losses, is not finite in any process."""
        tensors = [loss for _, loss in self._losses]
        values = torch.stack(tensors).float() if tensors else torch.empty(0)
        # Lightning divides losses by the number of accumulated batches.
        losses = (values * trainer.accumulate_grad_batches).tolist()
        for (step, _), value in zip(self._losses, losses, strict=True):
            if math.isfinite(value):
                self._last, self._diverged = f"{value:.4g} at step {step}", None
            else:
                self._diverged = self._diverged or f"the loss is {value} at step {step}"
        self._losses = []
        fault = None
        if what is not None:
            fault = self._diverged or f"{what} not finite after step {trainer.global_step}"
        elif len(losses) >= _LOSSES_PER_CHECK and not any(map(math.isfinite, losses)):
            fault = self._diverged
        if trainer.strategy.reduce_boolean_decision(fault is not None, all=False):
            raise TrainingDiverged(
                f"the training diverged: {fault or 'in another process'} (last finite loss: "
                f"{self._last}); lower the learning rate; checkpoints, if any, have finite weights"
            )
