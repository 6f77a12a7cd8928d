"""Validation images of each epoch, and those of the best epoch."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchvision.utils import make_grid

from lightning_colorize.color import ColorBatch, fit_gamut, to_rgb
from lightning_colorize.metrics import per_image
from lightning_colorize.training.callbacks.best_checkpoint import BestCheckpoint
from lightning_colorize.training.loggers import log_images
from lightning_colorize.training.loggers.base import as_image
from lightning_colorize.training.loggers.image_files import BestImage, write_best_images


class ImageGrids(Callback):
    """Logs a grid of validation images, one per row: grey, prediction, truth.

    The images of the best epoch are also saved one by one, with their color differences. Runs on
    the same data and with the same number of processes show the same images.

    Args:
        best: Chooses the best epoch.
        count: Number of images.
        every_n_epochs: Epochs between grids; the last epoch always has one.
    """

    def __init__(self, best: BestCheckpoint, count: int, every_n_epochs: int = 1) -> None:
        self.best = best
        self.count = count
        self.every_n_epochs = every_n_epochs
        self._shown: list[BestImage] = []
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
        """Draw images spread over the split, as neighbors by name are often similar."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        indices = range(self._seen, self._seen + len(batch))
        self._seen += len(batch)
        loader: Any = trainer.val_dataloaders
        step = max(1, len(loader.dataset) // trainer.world_size // self.count)
        free = self.count - len(self._shown)
        shown = [i for i, index in enumerate(indices) if index % step == 0][:free]
        if shown:
            images = batch.L[shown], outputs[shown], batch.ab[shown]
            names = [batch.names[i] for i in shown]
            rows, differences = map(as_image, grid_rows(*images)), per_image(*images)["ciede2000"]
            self._shown += map(BestImage, names, rows, differences.tolist())

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the grid."""
        if self._shown and self._is_due(trainer):
            rows = [torch.from_numpy(image.row).movedim(-1, 0) for image in self._shown]
            grid = make_grid(rows, nrow=1, padding=2, pad_value=255)
            log_images(trainer.loggers, "val/grid", grid, trainer.global_step)
        self._seen = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the images if this epoch is the best so far."""
        if not trainer.sanity_checking and self.best.is_best(trainer) and self._shown:
            write_best_images(Path(trainer.default_root_dir), self._shown)
        self._shown = []

    def _is_due(self, trainer: Trainer) -> bool:
        epoch = trainer.current_epoch + 1
        last = trainer.should_stop or epoch == trainer.max_epochs
        return last or epoch % self.every_n_epochs == 0


def grid_rows(L: Tensor, ab_hat: Tensor, ab: Tensor) -> Tensor:
    """Return grey, prediction and truth of each image side by side.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.

    Returns:
        (B, 3, H, 3 W), uint8.
    """
    images = [to_rgb(L, color) for color in (torch.zeros_like(ab), fit_gamut(L, ab_hat), ab)]
    return (torch.cat(images, dim=3) * 255).round().to(torch.uint8)
