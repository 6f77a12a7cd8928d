"""Writes best.ckpt, the weights of the best epoch."""

from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_colorize.runs.folder import BEST


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint for one file; its score survives a move of the run folder."""

    def __init__(self, folder: Path, monitor: str | None, mode: Literal["max", "min"]) -> None:
        path = folder / BEST
        super().__init__(
            dirpath=path.parent,
            filename=path.stem,
            monitor=monitor,
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
