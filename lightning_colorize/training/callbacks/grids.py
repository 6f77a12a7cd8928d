"""Image grids of each epoch, and the images of the best epoch."""

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import fit_gamut, to_lab, to_rgb
from lightning_colorize.data import ColorizationDataModule
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.image_set import ImageSet
from lightning_colorize.metrics import per_image
from lightning_colorize.models.image import seen_side
from lightning_colorize.runs.images import BestImage, ImageArray, write_best_images
from lightning_colorize.training.callbacks.checkpoints import BestCheckpoint
from lightning_colorize.training.loggers.build import as_image, log_images


class ImageGrids(Callback):
    """Logs a grid of whole validation images, one per row: grey, prediction, truth.

    The last epoch always has a grid. The images of the best epoch are also saved one by one, with
    their color differences. Runs on the same data show the same images.
    """

    def __init__(self, best: BestCheckpoint, count: int, every_n_epochs: int = 1) -> None:
        self.best = best
        self.count = count
        self.every_n_epochs = every_n_epochs
        self._images: list[tuple[str, Tensor]] | None = None
        self._colored: list[BestImage] = []

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Color the images and log the grid."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        if self._images is None:
            data: ColorizationDataModule = trainer.datamodule  # type: ignore[attr-defined]
            # A copy: packed shards that it opens are closed with it.
            self._images = list(_spread(copy(data.originals("val")), self.count, data.size))
        # A compiled network would be compiled again for each shape.
        with torch.compiler.set_stance("force_eager"):
            self._colored = [_colored(pl_module, name, rgb) for name, rgb in self._images]
        epoch = trainer.current_epoch + 1
        last = trainer.should_stop or epoch == trainer.max_epochs
        if self._colored and (last or epoch % self.every_n_epochs == 0):
            grid = _stack([image.row for image in self._colored])
            log_images(trainer.loggers, "val/grid", grid, trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the images if this epoch is the best so far."""
        if not trainer.sanity_checking and self.best.is_best(trainer) and self._colored:
            write_best_images(Path(trainer.default_root_dir), self._colored)


def _spread(images: ImageSet, count: int, size: int) -> Iterator[tuple[str, Tensor]]:
    """Yield images spread over a set, as neighbors by name are often similar.

    Corrupt images are missing; the loader reports them.
    """
    for index in range(0, len(images), max(1, len(images) // count))[:count]:
        try:
            rgb = images.read(index, size)
        except ImageError:
            continue
        height, width = rgb.shape[1:]
        yield images.name(index), resize_short_side(rgb, seen_side(height, width, size))


def _colored(task: LightningModule, name: str, rgb: Tensor) -> BestImage:
    """Color an image, (3, H, W) uint8."""
    L, ab = to_lab(rgb.unsqueeze(0).to(task.device))
    ab_hat = task(L)
    row = as_image(grid_row(L, ab_hat, ab))
    return BestImage(name, row, per_image(L, ab_hat, ab)["ciede2000"].item())


def grid_row(L: Tensor, ab_hat: Tensor, ab: Tensor) -> Tensor:
    """Return grey, prediction and truth of an image side by side: (3, H, 3 W), uint8.

    L is (1, 1, H, W) in [0, 100], predicted and true ab are (1, 2, H, W) in LAB units.
    """
    images = [to_rgb(L, color) for color in (torch.zeros_like(ab), fit_gamut(L, ab_hat), ab)]
    return (torch.cat(images, dim=3)[0] * 255).round().to(torch.uint8)


def _stack(rows: Sequence[ImageArray]) -> Tensor:
    """Return rows of several widths below each other on white: (3, H, W), uint8."""
    widest = max(row.shape[1] for row in rows)
    padded = [
        F.pad(torch.from_numpy(row).movedim(-1, 0), (2, 2 + widest - row.shape[1], 2, 2), value=255)
        for row in rows
    ]
    return torch.cat(padded, dim=1)
