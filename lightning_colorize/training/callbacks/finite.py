"""Ends a run that diverges."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_colorize.common.errors import WorkError
from lightning_colorize.models.checkpoint import first_not_finite, optimizer_states

_EVERY = 50  # losses per check, which waits for the device


class TrainingDiverged(WorkError):
    """A loss, prediction or weight is not finite."""


class FiniteTraining(Callback):
    """Ends a run whose losses, predictions or weights are not finite.

    Predictions and their loss are checked in each validation, and weights before they are saved: a
    checkpoint is never replaced by one that is not finite. In between, a run ends when no loss of
    many batches is finite. A few such losses do no harm: 16-mixed precision skips their steps.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._steps: list[int] = []
        self._last = "none"
        self._diverged: str | None = None
        self._predicted: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Keep the loss; check if it is time."""
        if "loss" in (outputs or {}):  # not in a step of the discriminator alone
            # Lightning divides it by the number of accumulated batches.
            self._losses.append(outputs["loss"] * trainer.accumulate_grad_batches)
            self._steps.append(trainer.global_step)
            if len(self._losses) == _EVERY:
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
        values = torch.stack(self._losses).float() if self._losses else torch.empty(0)
        finite = values.isfinite()
        for step, value, is_finite in zip(self._steps, values.tolist(), finite, strict=True):
            if is_finite:
                self._last, self._diverged = f"{value:.4g} at step {step}", None
            else:
                self._diverged = self._diverged or f"the loss is {value} at step {step}"
        self._losses, self._steps = [], []
        fault = None
        if what is not None:
            fault = self._diverged or f"{what} not finite after step {trainer.global_step}"
        elif len(values) == _EVERY and not finite.any():
            fault = self._diverged
        if trainer.strategy.reduce_boolean_decision(fault is not None, all=False):
            raise TrainingDiverged(
                f"the training diverged: {fault or 'in another process'} (last finite loss: "
                f"{self._last}); lower the learning rate; checkpoints, if any, have finite weights"
            )
