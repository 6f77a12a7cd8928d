"""TF32 for the networks' fp32 arithmetic."""

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.color import set_tf32


class TF32(Callback):
    """Rounds the factors of fp32 products to 10 bits, for tensor cores since Ampere.

    For the whole process, while the Trainer works. Colour and metrics are exempt: they compute
    within `full_precision`, or without such products.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Switch on, before the first batch."""
        self._set_back = set_tf32(True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the process as it was."""
        self._set_back()
