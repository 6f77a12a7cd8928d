"""How much colour an image has."""

import math

import numpy as np
from torch import Tensor

from lightning_colorize.color import to_lab

NEAR_GREY = 5.0
"""An image whose 95th percentile of chroma is below this is near-grey."""

# Of all 8-bit colours whose greatest and least channel are so far apart, the least chroma is 9.
_LIVELY = 32


def grey_chroma(rgb: Tensor) -> float:
    """Return the 95th percentile of the chroma (the length of ab) of an image with little colour.

    Args:
        rgb: (3, H, W), uint8, sRGB.

    Returns:
        LAB units; infinity for an image that is plainly coloured, of which nothing is converted.
    """
    rgb = rgb.contiguous()  # decoders give pixels; planes are compared four times as fast
    spread = rgb.amax(0) - rgb.amin(0)
    # One more than the share: the percentile lies between two pixels.
    if int((spread >= _LIVELY).sum()) > 0.05 * spread.numel() + 1:
        return math.inf
    _, ab = to_lab(rgb.unsqueeze(0))
    return float(np.percentile(ab.norm(dim=1).numpy(), 95))
