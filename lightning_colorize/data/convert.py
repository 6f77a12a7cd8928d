"""From uint8 RGB to (L, ab), on the device and in fp32.

The data module calls it after the transfer to the device. Baselines, evaluation and inference call
it without a Trainer.
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
    """Convert a loader's batch of RGB, (B, 3, H, W), uint8.

    The augmentation is applied before the conversion (and to L), in training. Compiled, the first
    batch of each shape takes seconds.

    Returns:
        L: (B, 1, H, W) in [0, 100] and ab: (B, 2, H, W) in LAB units, fp32, at the augmentation's
        size if there is one.
    """
    draw = None
    if augmentation is not None:
        draw = augmentation.draw(raw.rgb.shape).to(raw.rgb.device)
    convert = _compiled() if compiled else _convert
    L, ab = convert(raw.rgb, augmentation, draw)
    if augmentation is not None:
        # Not compiled: the number of damaged images varies, and the compiler would start again.
        L = augmentation.damage(L)
    return ColorBatch(L, ab, raw.names, condition=raw.condition)


def _convert(
    rgb: Tensor, augmentation: Augmentation | None, draw: Draw | None
) -> tuple[Tensor, Tensor]:
    if augmentation is None or draw is None:
        return to_lab(rgb)
    L, ab = augmentation(rgb, draw)
    return L, ab


@cache
def _compiled() -> Callable[..., tuple[Tensor, Tensor]]:
    # fullgraph: a graph break would lose the speedup without an error.
    return torch.compile(_convert, fullgraph=True)
