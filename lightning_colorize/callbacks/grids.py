"""Pictures that show at a glance whether anything is learnt: grey, prediction, truth."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchvision.utils import make_grid

from lightning_colorize.color import ColorBatch, fit_gamut, to_rgb
from lightning_colorize.loggers import log_pictures


class PictureGrids(Callback):
    """Logs a grid of always the same validation pictures, one a row: grey, prediction, truth.

    Args:
        count: Pictures in the grid; 0 for no grids.
        every_n_epochs: How often.
    """

    def __init__(self, count: int = 8, every_n_epochs: int = 1) -> None:
        self.count = count
        self.every_n_epochs = every_n_epochs
        self._rows: list[Tensor] = []
        self._seen = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,  # type: ignore[override]
        batch: ColorBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw pictures from all over the split: neighbours by name are often alike."""
        if not self._is_due(trainer):
            return
        numbers = range(self._seen, self._seen + len(batch))
        self._seen += len(batch)
        loader: Any = trainer.val_dataloaders
        step = max(1, len(loader.dataset) // trainer.world_size // self.count)
        free = self.count - len(self._rows)
        shown = [i for i, number in enumerate(numbers) if number % step == 0][:free]
        if shown:
            rows = grid_rows(batch.L[shown], outputs[shown], batch.ab[shown])
            self._rows.extend(rows.cpu().unbind())

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the grid."""
        if self._rows:
            grid = make_grid(self._rows, nrow=1, padding=2, pad_value=255)
            log_pictures(trainer.loggers, "val/grid", grid, trainer.global_step)
            self._rows = []
        self._seen = 0

    def _is_due(self, trainer: Trainer) -> bool:
        epoch = trainer.current_epoch + 1
        last = trainer.should_stop or epoch == trainer.max_epochs
        return (
            trainer.is_global_zero
            and not trainer.sanity_checking
            and (last or epoch % self.every_n_epochs == 0)
        )


def grid_rows(L: Tensor, ab_hat: Tensor, ab: Tensor) -> Tensor:
    """Return grey, prediction and truth of each picture side by side.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.

    Returns:
        (B, 3, H, 3 W), uint8.
    """
    pictures = [to_rgb(L, colour) for colour in (torch.zeros_like(ab), fit_gamut(L, ab_hat), ab)]
    return (torch.cat(pictures, dim=3) * 255).round().to(torch.uint8)
