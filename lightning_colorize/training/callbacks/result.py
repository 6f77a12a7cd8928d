"""Writes `result.json` and `validations.jsonl`; ends a run at the request of a file."""

import time
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.common.provenance import git_commit, versions
from lightning_colorize.networks import parameter_count
from lightning_colorize.runs.folder import BEST, is_stop_requested
from lightning_colorize.runs.result import RUNNING, RunResult, append_validation
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.training.callbacks.baselines import BaselineMetrics
from lightning_colorize.training.callbacks.checkpoints import BestCheckpoint
from lightning_colorize.training.callbacks.gan_health import GANHealth
from lightning_colorize.training.callbacks.stopping import EarlyStop, RunInterrupted
from lightning_colorize.training.callbacks.throughput import Throughput

# Seconds of training between two updates of the file.
_UPDATE_EVERY = 10.0
_SAVED = ("metrics", "losses", "epochs", "batches", "images", "seconds", "device_seconds")


class ResultWriter(Callback):
    """Writes `result.json`, and counts batches, images and time over all restarts.

    The file is written every few seconds, after each validation and at the end, so that a killed
    run has one too (status `running`). With `test`, a run whose data has a test split ends only
    after its test. Device hours also count work that a kill lost.

    Each validation is a line of `validations.jsonl`. After it, the file `stop` ends the run: rank 0
    reads it, and `stopped` says whether it did.
    """

    def __init__(
        self,
        folder: Path,
        baselines: BaselineMetrics,
        throughput: Throughput,
        best: BestCheckpoint,
        test: bool = False,
    ) -> None:
        self.folder = folder
        self.baselines = baselines
        self.throughput = throughput
        self.best = best
        self.test = test
        self.metrics: dict[str, float] = {}
        self.losses: list[Any] = [0.0, 0]  # of the epoch so far: sum over images, images
        self.epochs = self.batches = self.images = self.restarts = 0
        self.seconds = self.device_seconds = 0.0
        self.stopped = self._begun = False
        self._devices = 1
        self._since: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; record a restart immediately, as the process may be killed again."""
        self._begun = True
        self._devices = trainer.world_size
        self._since = time.monotonic()
        if self.restarts:
            self.write(trainer, pl_module, RUNNING)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count; update the file if it is time."""
        if batch_idx == 0:
            self.losses = [0.0, 0]
        if (loss := (outputs or {}).get("loss")) is not None:
            # Lightning divides it by the number of accumulated batches.
            self.losses[0] += loss.float() * (trainer.accumulate_grad_batches * len(batch))
            self.losses[1] += len(batch)
        self.batches += 1
        self.images += len(batch) * trainer.world_size
        if self._since is not None and time.monotonic() - self._since > _UPDATE_EVERY:
            self.write(trainer, pl_module, RUNNING)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch, unless `max_time` or another limit cut it short."""
        self.epochs += trainer.is_last_batch

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Average the training loss over all processes."""
        if trainer.world_size > 1:
            own = torch.as_tensor(self.losses[0], device=pl_module.device)
            self.losses[0] = trainer.strategy.reduce(own, reduce_op="mean")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line, look for the file `stop`, and record the best epoch so far."""
        if trainer.sanity_checking:
            return
        metrics = _logged(trainer, "val/")
        if trainer.is_global_zero:
            append_validation(self.folder, trainer.current_epoch, trainer.global_step, metrics)
        found = trainer.is_global_zero and is_stop_requested(self.folder)
        if trainer.strategy.reduce_boolean_decision(found, all=False):
            trainer.should_stop = self.stopped = True
        if self.best.is_best(trainer):
            self.metrics = metrics | epoch_loss(trainer)
        self.write(trainer, pl_module, RUNNING)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the outcome, even if a resumed run had nothing left to train."""
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        untested = self.test and datamodule.has("test")
        self.write(trainer, pl_module, "interrupted" if untested else _ended(trainer))
        self._since = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write that the run continues, even if nothing was left to train."""
        self._begun = True
        self.write(trainer, pl_module, RUNNING)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the test metrics."""
        self.write(trainer, pl_module, _ended(trainer))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write that the run did not finish, unless it failed before training started."""
        if self._begun:
            stopped = isinstance(exception, (RunInterrupted, KeyboardInterrupt))
            self.write(trainer, pl_module, "interrupted" if stopped else "failed")

    def state_dict(self) -> dict[str, Any]:
        """Return the counts so far."""
        self._read_clock()
        self.losses[0] = float(self.losses[0])
        return {name: getattr(self, name) for name in (*_SAVED, "restarts")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts of the resumed run."""
        for name in _SAVED:
            setattr(self, name, state_dict[name])
        # The file may be newer than the checkpoint: restarts and time that a kill lost.
        written = RunResult.read(self.folder) or RunResult("interrupted")
        self.restarts = max(state_dict["restarts"], written.restarts or 0) + 1
        self.device_seconds = max(self.device_seconds, (written.device_hours or 0) * 3600)

    def write(self, trainer: Trainer, pl_module: LightningModule, status: str) -> None:
        """Write `result.json`, in the first process."""
        self._read_clock()
        if not trainer.is_global_zero:
            return
        self.metrics |= _logged(trainer, "test/")
        monitor = self.best.metric
        trainable, frozen = parameter_count(cast(ColorizationTask, pl_module).net)
        RunResult(
            status=status,
            stop_requested=self.stopped,
            metrics=dict(self.metrics),
            baselines={name: dict(row) for name, row in self.baselines.table.items()},
            best_checkpoint=BEST if (self.folder / BEST).is_file() else None,
            best_metric=None if monitor is None else self.metrics.get(monitor),
            monitor=monitor,
            epochs=self.epochs,
            batches=self.batches,
            images_seen=self.images,
            validation_images=trainer.datamodule.counts().get("val"),  # type: ignore[attr-defined]
            seconds=round(self.seconds, 2),
            images_per_second=round(self.images / self.seconds, 2) if self.seconds else None,
            device_hours=round(self.device_seconds / 3600, 5),
            **self.throughput.result(),
            parameters=trainable + frozen,
            trainable_parameters=trainable,
            versions=versions(),
            git_commit=git_commit(),
            restarts=self.restarts,
        ).write(self.folder)

    def _read_clock(self) -> None:
        if self._since is not None:
            now = time.monotonic()
            self.seconds += now - self._since
            self.device_seconds += (now - self._since) * self._devices
            self._since = now


def epoch_loss(trainer: Trainer) -> dict[str, float]:
    """Return `train/loss`, the mean over the epoch so far; empty before its first batch."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for each in callbacks:
        if isinstance(each, ResultWriter) and each.losses[1]:
            return {"train/loss": float(each.losses[0]) / each.losses[1]}
    return {}


def _ended(trainer: Trainer) -> str:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    kinds = (EarlyStop, GANHealth, ResultWriter)
    stopped = any(isinstance(each, kinds) and each.stopped for each in callbacks)
    return "stopped_early" if stopped else "finished"


def _logged(trainer: Trainer, prefix: str) -> dict[str, float]:
    """Return the last value of each metric whose name begins with the prefix."""
    metrics = trainer.callback_metrics
    return {name: float(value) for name, value in metrics.items() if name.startswith(prefix)}
