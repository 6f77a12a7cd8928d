"""All processes of a run see the same run folder, or it does not begin."""

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import LOCK


class SharedFolder(Callback):
    """Refuses to train on several nodes where they do not share the run folder.

    Only the first process writes, but all read: the checkpoint that a run goes on from, and the
    best one for the test. A node without it would go on from elsewhere, and nobody would notice.

    Args:
        folder: The run folder; the first process has written its lock there.
        resumed: Whether this process goes on from a checkpoint.
    """

    def __init__(self, folder: Path, resumed: bool) -> None:
        self.folder = folder
        self.resumed = resumed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare, before a checkpoint is looked for.

        Raises:
            UsageError: If a process does not see the folder as the others do.
        """
        if trainer.num_nodes == 1 or stage != "fit":
            return
        decide = trainer.strategy.reduce_boolean_decision
        seen = decide((self.folder / LOCK).is_file())
        same = decide(self.resumed) == decide(self.resumed, all=False)
        if not (seen and same):
            raise UsageError(
                f"not all nodes see {self.folder}: --run.root must be a folder that they share, "
                "under the same path"
            )
