"""What every logger of a run can do beyond Lightning's own contract."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pytorch_lightning.loggers import Logger
from torch import Tensor

Picture = npt.NDArray[np.uint8]
"""(H, W, 3), uint8, sRGB in 0..255."""


class BestPicture(NamedTuple):
    """A validation picture as a run's best weights colour it.

    Attributes:
        name: Of the picture, the same in every run on the same data.
        row: (H, 3 W, 3), uint8: grey, prediction and truth side by side.
        ciede2000: Mean colour difference between prediction and truth.
    """

    name: str
    row: Picture
    ciede2000: float


class RunLogger(Logger):
    """A logger that takes pictures and the run's configuration too.

    Attributes:
        description: What the banner says about it; empty: nothing.
    """

    description: str = ""

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Do nothing.

        Lightning calls this with what the module saved for its checkpoint, nested; the whole
        configuration goes through `log_config`, once and dotted.
        """

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Keep the run's configuration, given with dotted names."""

    def log_picture(self, name: str, picture: Picture, step: int, caption: str | None) -> None:
        """Keep a picture, (H, W, 3) uint8."""

    def log_best_pictures(self, pictures: Sequence[BestPicture]) -> None:
        """Keep pictures by which runs are compared, in place of those of an earlier epoch."""

    def close(self, failed: bool) -> None:
        """Write what is left; nothing is logged after it."""


def as_picture(picture: Picture | Tensor) -> Picture:
    """Return a picture as (H, W, 3) uint8 on the CPU.

    Args:
        picture: An array (H, W, 3) or a tensor (3, H, W) on any device, uint8 in 0..255.

    Raises:
        TypeError: If it is not uint8: W&B would show a picture of floats black, without a word.
        ValueError: If its shape is another.
    """
    if isinstance(picture, Tensor):
        picture = picture.movedim(0, -1).cpu().numpy()
    if picture.dtype != np.uint8:
        raise TypeError(f"pictures are logged as uint8 in 0..255, not as {picture.dtype}")
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            "a picture is an array (H, W, 3) or a tensor (3, H, W); "
            f"with channels last this one is {picture.shape}"
        )
    return np.ascontiguousarray(picture)
