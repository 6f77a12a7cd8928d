"""The one place where photographs become (L, ab): on the device, in fp32.

The data module calls it after the batch has reached the device; so does everything that has
images but no Trainer (baselines, evaluation, colouring).
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from lightning_colorize.color import ColorBatch, RawBatch, to_lab
from lightning_colorize.data.augmentation import Augmentation, Draw


def to_color_batch(
    raw: RawBatch, augmentation: Augmentation | None = None, compiled: bool = False
) -> ColorBatch:
    """Convert a loader's batch.

    Args:
        raw: Photographs, (B, 3, H, W), uint8.
        augmentation: What is done to training images before (and to L while) converting.
        compiled: Join all of it to a few kernels; the first batch of a kind takes seconds.

    Returns:
        L: (B, 1, H, W) in [0, 100] and ab: (B, 2, H, W) in LAB units, fp32; at the augmentation's
        size where there is one.
    """
    draw = None
    if augmentation is not None:
        draw = augmentation.draw(raw.rgb.shape).to(raw.rgb.device)
    convert = _compiled() if compiled else _convert
    L, ab = convert(raw.rgb, augmentation, draw)
    return ColorBatch(L, ab, raw.names)


def _convert(
    rgb: Tensor, augmentation: Augmentation | None, draw: Draw | None
) -> tuple[Tensor, Tensor]:
    if augmentation is None or draw is None:
        return to_lab(rgb)
    L, ab = augmentation(rgb, draw)
    return L, ab


@cache
def _compiled() -> Callable[..., tuple[Tensor, Tensor]]:
    # Whole, or not at all: where the graph broke, nothing would be won and nobody would know.
    return torch.compile(_convert, fullgraph=True)
