"""A callback that records the batches, losses and last weights of each process."""

import json
import math
from pathlib import Path

import torch
from pytorch_lightning import Callback

from lightning_colorize.training.callbacks import LastCheckpoint


class BatchRecorder(Callback):
    """Records, for each process, the image names and loss of each batch, and the last weights.

    The folder contains `<rank>.jsonl`, a line per batch, and `<rank>.pt`.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        line = {
            "epoch": trainer.current_epoch,
            "batch": batch_idx,
            "names": batch.names,
            "loss": float(outputs.get("loss", 0)),  # without a generator there is none
        }
        with (self.folder / f"{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def on_train_end(self, trainer, pl_module):
        torch.save(pl_module.state_dict(), self.folder / f"{trainer.global_rank}.pt")


class SaveRecorder(Callback):
    """Records the steps at which each process saves: `<rank>.jsonl`.

    By the clocks of all processes but the first, it is never time.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer, pl_module):
        (last,) = [one for one in trainer.callbacks if isinstance(one, LastCheckpoint)]
        if trainer.global_rank:
            last.every_n_minutes = math.inf

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        with (self.folder / f"{trainer.global_rank}.jsonl").open("a") as file:
            file.write(f"{trainer.global_step}\n")


def read_records(folder: Path) -> list[list]:
    """Return each process's lines, by rank."""
    files = sorted(folder.glob("*.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
