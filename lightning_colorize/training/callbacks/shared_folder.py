"""Checks that all nodes share the run folder."""

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import LOCK


class SharedFolder(Callback):
    """Refuses to train on several nodes that do not share the run folder.

    Rank 0 writes the checkpoints, and all ranks read them. A node without them would silently
    resume from different weights.
    """

    def __init__(self, folder: Path, resumed: bool) -> None:
        self.folder = folder
        self.resumed = resumed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare, before Lightning loads a checkpoint.

        Raises:
            UsageError: If the processes see different folders.
        """
        if trainer.num_nodes == 1 or stage != "fit":
            return
        decide = trainer.strategy.reduce_boolean_decision
        seen = decide((self.folder / LOCK).is_file())
        same = decide(self.resumed) == decide(self.resumed, all=False)
        if not (seen and same):
            raise UsageError(
                f"not all nodes see {self.folder}: --run.root must be a shared folder with the "
                "same path on all nodes"
            )
