"""An image in 35 numbers that stay the same when it is scaled or compressed again.

The lowest frequencies of its brightness (Zauner 2010 calls the signs of such a block a perceptual
hash), but as numbers and not as bits: a copy lies within a few hundredths of its original, another
image at several tenths, and a bit says nothing of how far a number is from its border.
"""

import numpy as np
from scipy.fft import dctn
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

_SIDE = 32
_rows, _columns = np.indices((_SIDE, _SIDE))
_LOW = (_rows + _columns > 0) & (_rows + _columns < 8)

LENGTH = int(_LOW.sum())
"""Numbers of a descriptor: 35."""

MIRRORED = np.where(_columns[_LOW] % 2, -1.0, 1.0)
"""Times this, (35,), a descriptor is that of the mirror image."""

_FLAT = 2.0
"""Grey levels, root mean square: in an image with less contrast there is nothing to compare."""


def descriptor(rgb: Tensor) -> np.ndarray:
    """Describe an image by its shapes, whatever its size, brightness, contrast and colours.

    Args:
        rgb: (3, H, W), uint8, of any size.

    Returns:
        (35,), float32, of length 1; not-a-number for an image without contrast.
    """
    grey = TF.rgb_to_grayscale(TF.resize(rgb, [_SIDE, _SIDE], antialias=True))[0]
    # Divided so, the squares of all frequencies but the zeroth add up to the variance.
    low = dctn(grey.numpy().astype(np.float32), norm="ortho")[_LOW] / _SIDE
    contrast = np.linalg.norm(low)
    described: np.ndarray = low / (contrast if contrast >= _FLAT else np.nan)
    return described
