"""Enables TF32 for the networks."""

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.color import set_tf32


class TF32(Callback):
    """Enables TF32 (10-bit mantissas) in the process while the Trainer runs.

    Color conversion and metrics are exempt: they run within `full_precision`.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Enable TF32."""
        self._restore = set_tf32(True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the former setting."""
        self._restore()
