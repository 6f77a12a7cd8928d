"""Ends a run whose monitored metric stops improving."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from lightning_colorize.metrics.spec import Goal


class EarlyStop(EarlyStopping):
    """Lightning's EarlyStopping, for runs that are resumed.

    A resumed run has the patience of its settings, not that of the checkpoint. A run that was
    stopped and then killed in its test only repeats the test. A metric that is not defined on the
    validation images, nan, is no improvement.

    Args:
        monitor: The metric.
        mode: Whether it is maximized.
        patience: Validations without an improvement.
    """

    def __init__(self, monitor: str, mode: Goal, patience: int) -> None:
        super().__init__(
            monitor,
            mode=mode,
            patience=patience,
            check_finite=False,
            check_on_train_epoch_end=False,  # an interrupted epoch is not validated
        )

    @property
    def stopped(self) -> bool:
        """Whether the run was stopped; `stopped_epoch` is 0 in the first epoch, too."""
        return self.stopping_reason != EarlyStoppingReason.NOT_STOPPED

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score and the count."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a run that was stopped."""
        trainer.should_stop = trainer.should_stop or self.stopped


def forget_early_stop(checkpoint: dict[str, Any]) -> bool:
    """Let the run of a checkpoint train on after an early stop; return whether there was one.

    The patience counts from there.
    """
    started = {
        "stopping_reason": EarlyStoppingReason.NOT_STOPPED.value,
        "stopping_reason_message": None,
        "stopped_epoch": 0,
        "wait_count": 0,
    }
    for key, state in checkpoint["callbacks"].items():
        if key.startswith(f"{EarlyStop.__name__}{{"):
            stopped: bool = state.get("stopping_reason") != started["stopping_reason"]
            state |= started
            return stopped
    return False
