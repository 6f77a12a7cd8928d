"""Grey photographs of a folder, coloured at every validation."""

import re
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.data.decoding.files import ImageError, read_image
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.tasks.prediction import colorize_image
from lightning_colorize.training.loggers import log_images

# The short side of what is shown of larger images: they are looked at, not kept.
_SHOWN_SIDE = 256

# Bytes of a key; with what is logged around it, the name of its file stays below 255.
_LONGEST_KEY = 200


class PredictFolder(Callback):
    """Colours the photographs of a folder after each validation and with the best weights.

    The latter where the run ends with a test. Works in the first process.

    Args:
        folder: With photographs, grey or not.
        size: Pixels of the short side at which the network sees them.
        limit: At most this many, by name.

    Raises:
        UsageError: If the folder has no image that can be read.
    """

    def __init__(self, folder: Path, size: int, limit: int = 16) -> None:
        self.size = size
        self.images: dict[str, torch.Tensor] = {}
        taken: set[str] = set()
        names = list_images(folder)
        if len(names) > limit and is_first_process():
            print(f"{folder}: the first {limit} of {len(names)} images are coloured in training")
        for name in names[:limit]:
            try:
                rgb = read_image(folder / name, _SHOWN_SIDE)
                if min(rgb.shape[1:]) > _SHOWN_SIDE:
                    rgb = resize_short_side(rgb, _SHOWN_SIDE)
                self.images[_key(name, taken)] = rgb
            except ImageError as error:
                print(f"Not coloured during training: {error}")
        if not self.images:
            raise UsageError(f"{folder} has no image that can be read (run.predict_dir)")

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
        for name, rgb in self.images.items():
            colored = colorize_image(pl_module, rgb, self.size)
            log_images(trainer.loggers, f"{kind}/{name}", colored, trainer.global_step)


def _key(name: str, taken: set[str]) -> str:
    """Return under what an image is logged: its name without suffix, numbered where that is taken.

    Loggers and file systems differ in what they take for a name (TensorBoard ends the run at one
    that is not UTF-8), so that it is made of letters, digits, `_`, `.`, `-` and `/`.

    Args:
        name: The image's relative name.
        taken: Names of files that earlier keys lead to; the new one's are added.
    """
    plain = re.sub(r"[^\w./-]+", "_", str(Path(name).with_suffix("")))
    plain = plain.encode()[-_LONGEST_KEY:].decode(errors="ignore").strip("/")
    key, number = plain, 1
    while taken & (files := _files(key)):
        number += 1
        key = f"{plain}-{number}"
    taken |= files
    return key


def _files(key: str) -> set[str]:
    """Return what tells a key's images from others in `images/`, where a slash is an underscore.

    There `predict/best/a` is `predict_best/a`.
    """
    flat = key.replace("/", "_")
    return {flat, f"best_{flat}"}
