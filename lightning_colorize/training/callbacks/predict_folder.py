"""Colors the images of a folder after each validation."""

import re
from pathlib import Path
from typing import cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.data.decoding.files import ImageError, read_image
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.models.image import colorize_image
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.training.loggers.build import log_images

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
