"""Grey photographs of a folder, coloured at every validation."""

from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.data.files import PictureError, read_picture
from lightning_colorize.data.sources.listing import list_pictures
from lightning_colorize.errors import UsageError
from lightning_colorize.loggers import log_pictures
from lightning_colorize.processes import is_first_process
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.tasks.prediction import colorize_picture

# The short side of what is shown of larger pictures: they are looked at, not kept.
_SHOWN_SIDE = 256


class PredictFolder(Callback):
    """Colours the photographs of a folder after each validation and with the best weights.

    The latter where the run ends with a test. Works in the first process.

    Args:
        folder: With photographs, grey or not.
        size: Pixels of the short side at which the network sees them.
        limit: At most this many, by name.

    Raises:
        UsageError: If the folder has no picture that can be read.
    """

    def __init__(self, folder: Path, size: int, limit: int = 16) -> None:
        self.size = size
        self.pictures: dict[str, torch.Tensor] = {}
        names = list_pictures(folder)
        if len(names) > limit and is_first_process():
            print(f"{folder}: the first {limit} of {len(names)} pictures are coloured in training")
        for name in names[:limit]:
            try:
                rgb = read_picture(folder / name, _SHOWN_SIDE)
                if min(rgb.shape[1:]) > _SHOWN_SIDE:
                    rgb = resize_short_side(rgb, _SHOWN_SIDE)
                self.pictures[str(Path(name).with_suffix(""))] = rgb
            except PictureError as error:
                print(f"Not coloured during training: {error}")
        if not self.pictures:
            raise UsageError(f"{folder} has no picture that can be read (run.predict_dir)")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Colour and log."""
        if not trainer.sanity_checking:
            self._color(trainer, pl_module, "predict")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Colour with the weights that are tested, the best ones, and log."""
        self._color(trainer, pl_module, "predict_best")

    def _color(self, trainer: Trainer, pl_module: LightningModule, kind: str) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ColorizationTask)
        for name, rgb in self.pictures.items():
            colored = colorize_picture(pl_module, rgb, self.size)
            log_pictures(trainer.loggers, f"{kind}/{name}", colored, trainer.global_step)
