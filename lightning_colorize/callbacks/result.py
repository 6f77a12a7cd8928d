"""`result.json`: what came out of a run, for programs."""

import json
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from lightning_colorize.callbacks.baselines import BaselineMetrics
from lightning_colorize.callbacks.interrupt import RunInterrupted
from lightning_colorize.networks import parameter_count
from lightning_colorize.run_folder import RESULT, write_atomic

_VERSIONS = ("lightning-colorize", "torch", "torchvision", "pytorch-lightning", "kornia")


class RunResult(Callback):
    """Keeps the account of a run over its resumes and writes `result.json`.

    The file is written at every validation and at the end, so that a killed run leaves one too
    (with status `interrupted`).

    Args:
        folder: The run folder.
        baselines: Whose table is part of the result.
        best: Whose checkpoint is the run's best.
    """

    def __init__(self, folder: Path, baselines: BaselineMetrics, best: ModelCheckpoint) -> None:
        self.folder = folder
        self.baselines = baselines
        self.best = best
        self.metrics: dict[str, float] = {}
        self.batches = 0
        self.images = 0
        self.seconds = 0.0
        self.restarts = 0
        self._since: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count."""
        self.batches += 1
        self.images += len(batch) * trainer.world_size

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics of the epoch that is best so far."""
        if trainer.sanity_checking or not trainer.training:
            return
        self._stop_clock()
        self.write(trainer, pl_module, "interrupted")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the outcome."""
        self._stop_clock(last=True)
        self.write(trainer, pl_module, self._status(trainer))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the test metrics."""
        self.write(trainer, pl_module, self._status(trainer))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Say that the run did not finish."""
        self._stop_clock(last=True)
        stopped = isinstance(exception, (RunInterrupted, KeyboardInterrupt))
        self.write(trainer, pl_module, "interrupted" if stopped else "failed")

    def state_dict(self) -> dict[str, Any]:
        """Return the account so far."""
        self._stop_clock()
        return {
            "metrics": self.metrics,
            "batches": self.batches,
            "images": self.images,
            "seconds": self.seconds,
            "restarts": self.restarts,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the account of the resumed run."""
        self.metrics = state_dict["metrics"]
        self.batches = state_dict["batches"]
        self.images = state_dict["images"]
        self.seconds = state_dict["seconds"]
        self.restarts = state_dict["restarts"] + 1

    def write(self, trainer: Trainer, pl_module: LightningModule, status: str) -> None:
        """Write `result.json`, in the first process."""
        if not trainer.is_global_zero:
            return
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.metrics |= {n: v for n, v in logged.items() if n.startswith(("train/", "test/"))}
        score = self.best.best_model_score
        is_best = score is None or logged.get(self.best.monitor or "") == float(score)
        if is_best:
            self.metrics |= {n: v for n, v in logged.items() if n.startswith("val/")}
        trainable, frozen = parameter_count(pl_module)
        result = {
            "status": status,
            "metrics": self.metrics,
            "baselines": self.baselines.table,
            "best_checkpoint": self._relative(self.best.best_model_path),
            "best_metric": None if score is None else float(score),
            "monitor": self.best.monitor,
            "epochs": trainer.current_epoch,
            "batches": self.batches,
            "images_seen": self.images,
            "seconds": round(self.seconds, 2),
            "images_per_second": round(self.images / self.seconds, 2) if self.seconds else None,
            "parameters": trainable + frozen,
            "trainable_parameters": trainable,
            "versions": {name: version(name) for name in _VERSIONS},
            "git_commit": git_commit(),
            "restarts": self.restarts,
        }
        write_atomic(self.folder / RESULT, json.dumps(result, indent=2) + "\n")

    def _relative(self, path: str) -> str | None:
        return str(Path(path).relative_to(self.folder)) if path else None

    def _stop_clock(self, last: bool = False) -> None:
        if self._since is None:
            return
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = None if last else now

    @staticmethod
    def _status(trainer: Trainer) -> str:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        early = [c for c in callbacks if isinstance(c, EarlyStopping)]
        return "stopped_early" if any(c.stopped_epoch for c in early) else "finished"


def git_commit() -> str | None:
    """Return the commit of the working directory, or None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
