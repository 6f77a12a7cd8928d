"""What a run prints: the banner at its start, and its progress."""

import sys
import textwrap
import time
from pathlib import Path
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from rich.console import Console
from rich.text import Text

from lightning_colorize.common.progress import LineClock
from lightning_colorize.common.text import printable
from lightning_colorize.metrics.spec import METRICS
from lightning_colorize.networks import parameter_count
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.training.callbacks.result import epoch_loss
from lightning_colorize.training.loggers.build import describe_loggers

# Characters of the class names that the banner lists.
_LISTED = 60


class Banner(Callback):
    """Prints device, network, data, loggers and run folder, on rank 0."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print."""
        if not trainer.is_global_zero:
            return
        for name, value in banner_rows(trainer, pl_module):
            # No wrapping: users copy paths from here.
            Console().print(Text.assemble((f"{name:<10}", "bold"), value), soft_wrap=True)


def banner_rows(trainer: Trainer, pl_module: LightningModule) -> list[tuple[str, str]]:
    """Return the labels and values of the banner."""
    task: Any = pl_module
    datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
    net = task.net
    trainable, frozen = parameter_count(net)
    processes = trainer.world_size
    accumulated = trainer.accumulate_grad_batches
    effective = datamodule.batch_size * processes * accumulated
    counts = ", ".join(f"{n:,} {split}" for split, n in datamodule.counts().items())
    batch = str(effective)
    if effective != datamodule.batch_size:
        batch += f" = {datamodule.batch_size} x {processes} processes x {accumulated} accumulated"
    how = " as CUDA graphs" if task.uses_graphs else ""
    compiled = f", networks compiled{how} in the first batches" if task.compiles else ""
    return [
        ("device", f"{task.device.type} x {processes}, precision {trainer.precision}{compiled}"),
        ("network", f"{trainable:,} parameters trainable, {frozen:,} frozen"),
        ("encoder", f"{type(net.encoder).__name__}, weights: {net.encoder.weights_from}"),
        ("images", f"{counts}; {datamodule.size} px"),
        *condition_rows(datamodule),
        ("batch", batch),
        ("rate", f"{_rates(trainer, pl_module)}; not scaled with the batch"),
        ("loggers", describe_loggers(trainer.loggers)),
        ("run", str(Path(trainer.default_root_dir))),
    ]


def condition_rows(datamodule: Any) -> list[tuple[str, str]]:
    """Return the rows of labels and texts, if the images have any."""
    rows = []
    notes = {s: datamodule.originals(s).notes for s in datamodule.counts()}
    if names := datamodule.label_names:
        found = {label for s in notes if s != "train" for label in notes[s].labels or ()}
        others = found - {"", *names}
        more = f"; {len(others)} only in val or test, used as none" if others else ""
        listed = textwrap.shorten(printable(", ".join(names)), _LISTED, placeholder=" ...")
        rows.append(("labels", f"{len(names):,}: {listed}{more}"))
    if texts := {s: sum(map(bool, own.texts)) for s, own in notes.items() if own.texts}:
        rows.append(("texts", ", ".join(f"{count:,} {split}" for split, count in texts.items())))
    return rows


def _rates(trainer: Trainer, pl_module: LightningModule) -> str:
    """Return each optimizer with its learning rate, and the encoder's if it differs."""
    names = cast(ColorizationTask, pl_module).optimizer_names
    rates = []
    for name, optimizer in zip(names, trainer.optimizers, strict=True):
        # A warmup may have lowered `lr` already.
        slow, full = (
            group.get("initial_lr", group["lr"])
            for group in (optimizer.param_groups[0], optimizer.param_groups[-1])
        )
        encoder = "" if len(optimizer.param_groups) == 1 else f" (encoder {slow:g})"
        rates.append(f"{name} {type(optimizer).__name__} {full:g}{encoder}".lstrip())
    return ", ".join(rates)


_READ_EVERY = 0.5  # seconds
_SHOWN = ("train/loss", "val/loss", *(f"val/{m.name}" for m in METRICS if m.headline))


def progress_callback(monitor: str | None) -> Callback:
    """Return a live progress bar on a terminal, plain log lines otherwise."""
    return ProgressBar(monitor) if sys.stdout.isatty() else LineProgress(monitor)


class ProgressBar(RichProgressBar):
    """Lightning's bar with the training loss of the epoch, and the monitored metric.

    In training, values are read every half second: the device would wait for each reading.
    """

    def __init__(self, monitor: str | None = None) -> None:
        super().__init__()
        self._names = ("train/loss", monitor)
        self._metrics: dict[str, Any] = {}
        self._read = 0.0

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the values at the end of the bar."""
        now = time.monotonic()
        if now - self._read >= _READ_EVERY or trainer.is_last_batch or trainer.validating:
            self._read = now
            self._metrics = super().get_metrics(trainer, pl_module)
            logged = trainer.callback_metrics
            self._metrics |= {name: float(logged[name]) for name in self._names if name in logged}
            self._metrics |= epoch_loss(trainer)
        return dict(self._metrics)


class LineProgress(Callback):
    """Prints a line every 30 s and after each validation, for logs and pipes."""

    def __init__(self, monitor: str | None = None) -> None:
        self._clock = LineClock()
        self._names = dict.fromkeys((*_SHOWN, monitor))

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
            values = ", ".join(f"{n} {float(metrics[n]):.4g}" for n in self._names if n in metrics)
            print(f"epoch {trainer.current_epoch + 1}, {position}: {values}", flush=True)
