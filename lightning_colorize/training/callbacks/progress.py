"""Progress of training: a bar on a terminal, a line every 30 s otherwise."""

import sys
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar

from lightning_colorize.common.progress import LineClock
from lightning_colorize.metrics.spec import METRICS
from lightning_colorize.training.callbacks.result import epoch_loss

_SHOWN = ("train/loss", "val/loss", *(f"val/{m.name}" for m in METRICS if m.headline))


def progress_callback() -> Callback:
    """Return a live progress bar on a terminal, plain log lines otherwise."""
    return ProgressBar() if sys.stdout.isatty() else LineProgress()


class ProgressBar(RichProgressBar):
    """Lightning's bar with the training loss of the epoch, as its other values are."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the values at the end of the bar."""
        return super().get_metrics(trainer, pl_module) | epoch_loss(trainer)


class LineProgress(Callback):
    """Prints a line every 30 s and after each validation, for logs and pipes."""

    def __init__(self) -> None:
        self._clock = LineClock()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._clock.restart()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Print if it is time."""
        self._print(trainer, f"batch {args[2] + 1}/{trainer.num_training_batches}")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any
    ) -> None:
        """Print if it is time."""
        self._print(trainer, f"validating, batch {args[2] + 1}/{sum(trainer.num_val_batches)}")

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Print if it is time."""
        self._print(trainer, f"testing, batch {args[2] + 1}/{sum(trainer.num_test_batches)}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the validation metrics."""
        if not trainer.sanity_checking:
            self._print(trainer, "validated", now=True)

    def _print(self, trainer: Trainer, position: str, now: bool = False) -> None:
        if trainer.is_global_zero and (self._clock.is_due() or now):
            self._clock.restart()
            metrics: dict[str, Any] = {**trainer.callback_metrics, **epoch_loss(trainer)}
            values = ", ".join(f"{n} {float(metrics[n]):.4g}" for n in _SHOWN if n in metrics)
            print(f"epoch {trainer.current_epoch + 1}, {position}: {values}", flush=True)
