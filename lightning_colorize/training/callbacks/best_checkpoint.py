"""best.ckpt: the weights with the best score of a run."""

from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_colorize.runs.folder import BEST


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint for one file, which still knows its score if the run was moved.

    Args:
        folder: The run folder.
        monitor: The metric by which weights are chosen; None: the last are the best.
        mode: Whether more of it is better, or less.
    """

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the score of the resumed run, whose folder may have another name by now."""
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
