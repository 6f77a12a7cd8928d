"""What every logger of a run can do beyond Lightning's own contract."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pytorch_lightning.loggers import Logger
from torch import Tensor

ImageArray = npt.NDArray[np.uint8]
"""(H, W, 3), uint8, sRGB in 0..255."""


class BestImage(NamedTuple):
    """A validation image as a run's best weights colour it.

    Attributes:
        name: Of the image, the same in every run on the same data.
        row: (H, 3 W, 3), uint8: grey, prediction and truth side by side.
        ciede2000: Mean colour difference between prediction and truth.
    """

    name: str
    row: ImageArray
    ciede2000: float


class RunLogger(Logger):
    """A logger that takes images and the run's configuration too.

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

    def add_image(self, name: str, image: ImageArray, step: int, caption: str | None) -> None:
        """Keep an image, (H, W, 3) uint8."""

    def log_best_images(self, images: Sequence[BestImage]) -> None:
        """Keep images by which runs are compared, in place of those of an earlier epoch."""

    def close(self, failed: bool) -> None:
        """Write what is left; nothing is logged after it."""


def as_image(image: ImageArray | Tensor) -> ImageArray:
    """Return an image as (H, W, 3) uint8 on the CPU.

    Args:
        image: An array (H, W, 3) or a tensor (3, H, W) on any device, uint8 in 0..255.

    Raises:
        TypeError: If it is not uint8: W&B would show an image of floats black, without a word.
        ValueError: If its shape is another.
    """
    if isinstance(image, Tensor):
        image = image.movedim(0, -1).cpu().numpy()
    if image.dtype != np.uint8:
        raise TypeError(f"images are logged as uint8 in 0..255, not as {image.dtype}")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            "an image is an array (H, W, 3) or a tensor (3, H, W); "
            f"with channels last this one is {image.shape}"
        )
    return np.ascontiguousarray(image)
