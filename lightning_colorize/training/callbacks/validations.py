"""The validations of a run: the record, early stopping, and the final validation."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import Goal
from lightning_colorize.runs.folder import is_stop_requested
from lightning_colorize.runs.validations import append_validation


class EarlyStop(EarlyStopping):
    """Lightning's EarlyStopping, for runs that are resumed.

    A resumed run takes its patience from its settings, not from the checkpoint. A run that was
    stopped and then killed in its test only repeats the test. A metric that is nan, because the
    validation images do not define it, does not count as an improvement.

    Args:
        monitor: The metric.
        mode: Whether it is maximized.
        patience: Validations without an improvement; None: any number. They are counted, for a
            run that is resumed with a patience.
    """

    def __init__(self, monitor: str, mode: Goal, patience: int | None) -> None:
        super().__init__(
            monitor,
            mode=mode,
            patience=patience or sys.maxsize,
            check_finite=False,
            check_on_train_epoch_end=False,  # an interrupted epoch is not validated
        )

    @property
    def stopped(self) -> bool:
        """Whether the run was stopped; `stopped_epoch` is 0 in the first epoch, too."""
        return self.stopping_reason != EarlyStoppingReason.NOT_STOPPED

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score and the count."""
        own = {"patience": self.patience, "wait_count": 0 + state_dict["wait_count"]}
        own["best_score"] = torch.as_tensor(state_dict["best_score"]).reshape(())
        super().load_state_dict(state_dict | own)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a run that was stopped."""
        trainer.should_stop = trainer.should_stop or self.stopped


def forget_early_stop(checkpoint: dict[str, Any]) -> bool:
    """Let a run continue after an early stop; return whether the checkpoint had one.

    Its patience starts again.
    """
    started = {
        "stopping_reason": EarlyStoppingReason.NOT_STOPPED.value,
        "stopping_reason_message": None,
        "stopped_epoch": 0,
        "wait_count": 0,
    }
    stopped = False
    for state in checkpoint["callbacks"].values():
        if "stopping_reason" in state:  # also Lightning's own callback
            stopped |= state["stopping_reason"] != started["stopping_reason"]
            state |= started
    return stopped


# States of callbacks, by the beginning of their keys, that compare or measure validations.
_OF_VALIDATIONS = ("BestCheckpoint", "EarlyStop", "SmoothedMonitor", "BaselineMetrics")


class Validations(Callback):
    """Appends each validation to `validations.jsonl`; ends the run if the file `stop` exists.

    Rank 0 reads it and broadcasts it. If the validations of a resumed run do not compare with its
    former ones, the best is reset.

    Args:
        folder: The run folder.
        settings: The settings by which validations compare.

    Attributes:
        stopped: Whether the file ended the run.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = {k: "null" if v is None else str(v) for k, v in settings.items()}
        self.stopped = False
        self._changes = ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add the names of the validation images to the settings."""
        if stage == "fit":
            images = trainer.datamodule.originals("val")  # type: ignore[attr-defined]
            names = "\0".join(map(images.name, range(len(images))))
            digest = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:8]
            self.settings["validation images"] = f"{len(images)}, names {digest}"

    def state_dict(self) -> dict[str, Any]:
        """Return the settings, with which a resumed run is compared."""
        return {"settings": self.settings}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remove the states that do not compare, before they are restored."""
        states = checkpoint["callbacks"]
        former = states.get(self.state_key, {}).get("settings", {})
        self._changes = ", ".join(
            f"{name} {value} (the run has {former[name]})"
            for name, value in self.settings.items()
            if former.get(name, value) != value
        )
        if not self._changes:
            return
        for key in [key for key in states if key.startswith(_OF_VALIDATIONS)]:
            del states[key]
        states.get("ResultWriter", {})["metrics"] = {}
        if trainer.is_global_zero:
            print(f"the best checkpoint is reset: {self._changes}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that a validation follows."""
        self._changes = ""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to test a checkpoint whose validations do not compare with the test."""
        if self._changes:
            raise UsageError(
                f"nothing is left to train with {self._changes}: give more --trainer.max_epochs"
            )

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
