"""best.ckpt, the weights of the best epoch, and last.ckpt, from which a run resumes exactly."""

import time
import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.plugins.io import CheckpointIO, TorchCheckpointIO

from lightning_colorize.common.digest import DigestWriter
from lightning_colorize.common.files import atomic_file
from lightning_colorize.metrics.spec import Goal
from lightning_colorize.runs.folder import BEST
from lightning_colorize.tasks.cgan import Stage

SMOOTHED = "smoothed_monitor"
"""The name of the smoothed metric, for callbacks only: it is not logged."""


class SmoothedMonitor(Callback):
    """Averages the monitored metric over the last `count` validations, before it is compared."""

    def __init__(self, monitor: str, count: int) -> None:
        self.monitor = monitor
        self.count = count
        self.recent: list[float] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the validation."""
        if trainer.sanity_checking:
            return
        latest = trainer.callback_metrics[self.monitor]
        self.recent = [*self.recent, float(latest)][-self.count :]
        mean = sum(self.recent) / len(self.recent)
        trainer.callback_metrics[SMOOTHED] = torch.as_tensor(mean).to(latest)

    def state_dict(self) -> dict[str, Any]:
        """Return the last validations."""
        return {"recent": self.recent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the last validations."""
        self.recent = [float(value) for value in state_dict["recent"]]


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint for one file; its score survives a move of the run folder.

    Without a metric, the last epoch is the best. `smoothed`: compare the metric's average over the
    last validations, which `SmoothedMonitor` computes.
    """

    def __init__(
        self, folder: Path, metric: str | None, mode: Goal, smoothed: bool = False
    ) -> None:
        self.metric = metric
        path = folder / BEST
        super().__init__(
            dirpath=path.parent,
            filename=path.stem,
            monitor=SMOOTHED if smoothed else metric,
            mode=mode,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )

    def is_best(self, trainer: Trainer) -> bool:
        """Return whether the file is about to be written; all processes decide this together.

        For `on_validation_end` of other callbacks: Lightning calls checkpoints last.
        """
        if self.monitor is None:
            return True
        return self.check_monitor_top_k(trainer, trainer.callback_metrics.get(self.monitor))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the score of the resumed run, whose folder may have moved."""
        path = f"{self.dirpath}/{Path(BEST).name}"
        scores = map(torch.as_tensor, state_dict["best_k_models"].values())
        best = dict(zip([path], scores, strict=False))
        names = ("best_model_path", "kth_best_model_path")
        paths = {name: path if state_dict[name] else "" for name in names}
        moved = {"dirpath": self.dirpath, "best_k_models": best}
        super().load_state_dict(state_dict | paths | moved)


class KeptCheckpoints(ModelCheckpoint):
    """Keeps weights every few steps as `checkpoints/step_N.ckpt`.

    Of a GAN with stages, only while both networks train: NoGAN's result is the checkpoint before
    the first artifacts (DeOldify).
    """

    def __init__(self, folder: Path, every_n_steps: int) -> None:
        super().__init__(
            dirpath=(folder / BEST).parent,
            filename="step_{step}",
            auto_insert_metric_name=False,
            every_n_train_steps=every_n_steps,
            save_top_k=-1,
            save_weights_only=True,
            enable_version_counter=False,
        )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Save if it is time."""
        if getattr(pl_module, "stage", Stage.BOTH) is Stage.BOTH:
            # Lightning warns that a GAN's weights are saved after the step, as they should be.
            with warnings.catch_warnings(action="ignore"):
                super().on_train_batch_end(trainer, pl_module, *args)


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt at the end of each epoch, and every few minutes, when `GracefulStop` asks.

    Lightning's ModelCheckpoint also writes where a resumed run would differ: between a batch and
    its validation, which would be skipped, and at the end of a shortened epoch
    (`limit_train_batches`, `max_time`), whose remaining batches would be trained. This callback
    waits for the next batch, and ends the loader's epoch.
    """

    def __init__(self, path: Path, every_n_minutes: float) -> None:
        self.path = path
        self.every_n_minutes = every_n_minutes
        self._saved_at = time.monotonic()
        self._max_steps: int | None = None

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Hide `max_steps` while Lightning restores its loops.

        With it, Lightning assumes that the run stopped in mid-epoch, and would end a finished epoch
        twice.
        """
        self._max_steps = trainer.max_steps
        trainer.fit_loop.epoch_loop.max_steps = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps = self._max_steps
        self._saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time to save, by this process's clock."""
        return time.monotonic() - self._saved_at >= 60 * self.every_n_minutes

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; the epoch has ended, even if some of its batches were not trained."""
        loader: Any = trainer.train_dataloader
        loader.end_epoch()
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the file."""
        trainer.save_checkpoint(self.path)
        self._saved_at = time.monotonic()


def resumable(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether a checkpoint at the end of this batch resumes exactly.

    It does not before a validation, nor with accumulated gradients.
    """
    if trainer.is_last_batch or trainer.should_stop:
        return False
    if (batch_idx + 1) % trainer.accumulate_grad_batches:
        return False
    interval = trainer.val_check_batch
    if interval is None:
        return True
    per_epoch = trainer.check_val_every_n_epoch is not None
    done = batch_idx if per_epoch else trainer.fit_loop.total_batch_idx
    return bool((done + 1) % interval)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints with a digest to a temporary file in the same folder, then renames it.

    Lightning's temporary file is in the system's folder, so a kill or a full disk may leave half a
    checkpoint. To URLs, Lightning writes, without a digest.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; if that fails, the previous one stays."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        try:
            # One name, so that what a killed process leaves is overwritten.
            with atomic_file(target, target.with_name(f".{target.name}.tmp")) as file:
                writer: Any = DigestWriter(file)
                torch.save(checkpoint, writer)
                writer.finish()
        except RuntimeError as error:  # torch cannot close an archive on a full disk
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def with_atomic_checkpoints(plugins: list[Any]) -> list[Any]:
    """Return a Trainer's plugins, with `AtomicCheckpointIO` unless one writes checkpoints."""
    if any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        return plugins
    return [*plugins, AtomicCheckpointIO()]
