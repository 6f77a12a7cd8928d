"""Writes best.ckpt, the weights of the best epoch."""

from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from lightning_colorize.runs.folder import BEST

SMOOTHED = "smoothed_monitor"
"""The name of the smoothed metric, for callbacks only: it is not logged."""


class SmoothedMonitor(Callback):
    """Averages the monitored metric over the last validations; before callbacks that compare it.

    Args:
        monitor: The metric.
        count: The number of validations.
    """

    def __init__(self, monitor: str, count: int) -> None:
        self.monitor = monitor
        self.count = count
        self.recent: list[float] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the validation."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
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
        self.recent = state_dict["recent"]


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint for one file; its score survives a move of the run folder.

    Args:
        folder: The run folder.
        metric: The monitored metric; None: the last epoch is the best.
        mode: Whether it is maximized.
        smoothed: Compare its average over the last validations, which `SmoothedMonitor` computes.
    """

    def __init__(
        self,
        folder: Path,
        metric: str | None,
        mode: Literal["max", "min"],
        smoothed: bool = False,
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
        here, there = str(self.dirpath), state_dict["dirpath"]

        def moved(path: str) -> str:
            return path.replace(there, here, 1)

        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        super().load_state_dict(
            state_dict
            | {name: moved(state_dict[name]) for name in paths}
            | {"dirpath": here, "best_k_models": best}
        )
