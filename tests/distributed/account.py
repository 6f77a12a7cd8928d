"""A callback for runs of several processes: what each of them saw, paid and ended with."""

import json
from pathlib import Path

import torch
from pytorch_lightning import Callback


class Account(Callback):
    """Writes down, for each process, the names of every batch, its loss, and the last weights.

    Args:
        folder: Takes `<rank>.jsonl`, a line per batch, and `<rank>.pt`.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        line = {
            "epoch": trainer.current_epoch,
            "batch": batch_idx,
            "names": batch.names,
            "loss": float(outputs["loss"]),
        }
        with (self.folder / f"{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def on_train_end(self, trainer, pl_module):
        torch.save(pl_module.state_dict(), self.folder / f"{trainer.global_rank}.pt")


def read_account(folder: Path) -> list[list[dict]]:
    """Return each process's lines, in the order of ranks."""
    files = sorted(folder.glob("*.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
