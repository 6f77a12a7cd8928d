"""What a sweep sees of a run while it trains, and how it ends one: two files of the run folder."""

import json
import math
import time
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from lightning_colorize.runs.folder import STOP, VALIDATIONS


class Validations(Callback):
    """Appends each validation's metrics to `validations.jsonl`; ends the run if it finds `stop`.

    A line is `{"epoch": 3, "step": 420, "time": 1763650000.0, "metrics": {"val/psnr": 21.2}}`, with
    null for what is no number. A run that goes on from a checkpoint may validate an epoch once
    more: the later line counts. Whoever writes `stop` (its text is the reason) need not know the
    machine, nor how many processes train: the first one reads it and tells the others.

    Args:
        folder: The run folder.

    Attributes:
        stopped: Whether the run was ended by the file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopped = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line, then look for the file."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.is_global_zero:
            self._append(trainer)
        found = trainer.is_global_zero and (self.folder / STOP).is_file()
        if trainer.strategy.reduce_boolean_decision(found, all=False):
            trainer.should_stop = self.stopped = True

    def _append(self, trainer: Trainer) -> None:
        values = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        line = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "time": round(time.time(), 3),
            "metrics": {n: v if math.isfinite(v) else None for n, v in values.items()},
        }
        # One write: a reader never meets a part of it.
        with (self.folder / VALIDATIONS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
