"""The interface of a run's loggers, beyond Lightning's own."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning.loggers import Logger
from torch import Tensor

from lightning_colorize.runs.images import ImageArray


class RunLogger(Logger):
    """A logger that also logs images and the configuration.

    Attributes:
        description: For the banner; empty: not shown.
    """

    description: str = ""

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Do nothing.

        Lightning calls this with the module's hyperparameters; `log_config` logs the whole
        configuration once, with dotted names.
        """

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log the configuration, given with dotted names."""

    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Log an image, (H, W, 3) uint8."""

    def close(self, failed: bool) -> None:
        """Write pending entries; nothing is logged afterwards."""


class FolderLogger(RunLogger):
    """A logger that is named after the run folder, to which it writes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    @property
    def name(self) -> str:
        """The run's name."""
        return self._folder.name

    @property
    def version(self) -> str:
        """Empty: a run folder is one version."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self._folder)


def as_image(image: Tensor) -> ImageArray:
    """Return an image, (3, H, W) on any device, as (H, W, 3) on the CPU.

    Raises:
        TypeError: If it is not uint8; W&B silently shows float images black.
    """
    if image.dtype != torch.uint8:
        raise TypeError(f"images are logged as uint8 in 0..255, not as {image.dtype}")
    return np.ascontiguousarray(image.movedim(0, -1).cpu().numpy())
