"""Images colored during training: grids, the images of the best epoch, and a folder of the user."""

import re
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import fit_gamut, to_lab, to_rgb
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data import ColorizationDataModule
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.data.decoding.files import ImageError, read_image
from lightning_colorize.data.image_set import ImageSet
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.metrics import per_image
from lightning_colorize.models.image import colorize_image, seen_side
from lightning_colorize.runs.images import BestImage, ImageArray, write_best_images
from lightning_colorize.tasks import ColorizationTask
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
    images = [to_rgb(L, color) for color in (torch.zeros_like(ab), fit_gamut(L, ab_hat), ab)]
    row = (torch.cat(images, dim=3)[0] * 255).round().to(torch.uint8)
    return BestImage(name, as_image(row), per_image(L, ab_hat, ab)["ciede2000"].item())


def _stack(rows: Sequence[ImageArray]) -> Tensor:
    """Return rows of several widths below each other on white: (3, H, W), uint8."""
    widest = max(row.shape[1] for row in rows)
    padded = [
        F.pad(torch.from_numpy(row).movedim(-1, 0), (2, 2 + widest - row.shape[1], 2, 2), value=255)
        for row in rows
    ]
    return torch.cat(padded, dim=1)


_MOST = 16  # images, the first by name
_SHOWN_SIDE = 256  # pixels of the short side of logged images
_LONGEST_KEY = 200  # bytes; with prefix and step, file names stay below 255


class PredictFolder(Callback):
    """Colors the first images of a folder after each validation, on rank 0.

    A run with a test also colors them with its best weights. `size`: pixels of the short side of
    the network's input.

    Raises:
        UsageError: If the folder has no readable image.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self.images: dict[str, torch.Tensor] = {}
        for index, name in enumerate(list_images(folder)[:_MOST]):
            # TensorBoard and file systems differ in the names that they accept.
            plain = re.sub(r"[^\w.-]+", "_", str(Path(name).with_suffix(""))).encode()
            key = f"{index:02d}_{plain[-_LONGEST_KEY:].decode(errors='ignore')}"
            try:
                rgb = read_image(folder / name, _SHOWN_SIDE)
            except ImageError as error:
                print(f"Not colored during training: {error}")
                continue
            small = min(rgb.shape[1:]) <= _SHOWN_SIDE
            self.images[key] = rgb if small else resize_short_side(rgb, _SHOWN_SIDE)
        if not self.images:
            raise UsageError(f"{folder} has no readable image (run.predict_dir)")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Color and log."""
        if not trainer.sanity_checking:
            self._color(trainer, pl_module, "predict")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Color with the best weights and log."""
        self._color(trainer, pl_module, "predict_best")

    def _color(self, trainer: Trainer, pl_module: LightningModule, kind: str) -> None:
        if trainer.is_global_zero:
            model = cast(ColorizationTask, pl_module).to_model()
            for name, rgb in self.images.items():
                try:
                    colored = colorize_image(model, rgb, self.size)
                except FloatingPointError as error:
                    print(f"Not colored during training: {name}: {error}")
                    continue
                log_images(trainer.loggers, f"{kind}/{name}", colored, trainer.global_step)
