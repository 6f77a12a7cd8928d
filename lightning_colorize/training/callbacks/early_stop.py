"""Ends a run whose monitored metric stops improving."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from lightning_colorize.metrics.spec import Goal


class EarlyStop(EarlyStopping):
    """Lightning's EarlyStopping, for runs that are resumed.

    A resumed run has the patience of its settings, not that of the checkpoint. A run that was
    stopped and then killed in its test only repeats the test.

    Args:
        monitor: The metric.
        mode: Whether it is maximized.
        patience: Validations without an improvement.
        restart: Train on after an early stop; the patience counts from there.
    """

    def __init__(self, monitor: str, mode: Goal, patience: int, restart: bool) -> None:
        # After validations only: an interrupted epoch is not validated.
        super().__init__(monitor, mode=mode, patience=patience, check_on_train_epoch_end=False)
        self._restart = restart

    @property
    def stopped(self) -> bool:
        """Whether the run was stopped; `stopped_epoch` is 0 in the first epoch, too."""
        return self.stopping_reason != EarlyStoppingReason.NOT_STOPPED

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score and the count."""
        super().load_state_dict(state_dict | {"patience": self.patience})
        if self.stopped and self._restart:
            self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
            self.stopping_reason_message = None
            self.stopped_epoch = self.wait_count = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a run that was stopped."""
        trainer.should_stop = trainer.should_stop or self.stopped
