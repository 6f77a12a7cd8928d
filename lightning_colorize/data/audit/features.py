"""The audit features of one image, in a record of fixed length."""

import math
from hashlib import blake2b
from pathlib import Path

import numpy as np
from scipy.fft import dctn
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import to_lab
from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.decoding.files import ImageError, decode_image, read_header
from lightning_colorize.data.images import ImageSet

_SIDE = 32
_rows, _columns = np.indices((_SIDE, _SIDE))
_LOW = (_rows + _columns > 0) & (_rows + _columns < 8)

LENGTH = int(_LOW.sum())
"""Length of a descriptor: 35."""

MIRRORED = np.where(_columns[_LOW] % 2, -1.0, 1.0)
"""(35,): a descriptor times this is the descriptor of the mirror image."""

# Root-mean-square contrast in levels of 255, below which a descriptor would be noise.
_FLAT = 2.0

NEAR_GREY = 5.0
"""An image is near-grey if the 95th percentile of its chroma is below this, in LAB units."""

# Of all 8-bit colors whose channels differ by this much, the least chroma is 9.
_COLORFUL_SPREAD = 32

FEATURES = np.dtype(
    [
        ("digest", "S16"),  # of the file's bytes
        ("bytes", np.int64),
        ("height", np.int32),
        ("width", np.int32),
        ("cmyk", np.bool_),
        ("has_profile", np.bool_),
        ("chroma", np.float32),  # as returned by `grey_chroma`
        ("descriptor", np.float16, LENGTH),  # rounding changes it by 0.0002
    ]
)
"""The features of an image; all zeros if it is broken."""

# Features are computed at this short side: close to what training reads, and fast to decode.
_FEATURE_SIDE = 128


def audit_image(images: ImageSet, index: int) -> tuple[np.ndarray, ImageError | None]:
    """Read an image once and compute its features.

    Returns:
        A record, () of `FEATURES`, and the error of a broken image.
    """
    features = np.zeros((), dtype=FEATURES)
    try:
        data = images.encoded(index)
        assert data is not None
        path = Path(images.name(index))
        header = read_header(data, path)
        rgb = limit_length(decode_image(data, path, _FEATURE_SIDE))
    except ImageError as error:
        return features, error
    rgb = resize_short_side(rgb, min(_FEATURE_SIDE, *rgb.shape[1:]))
    features["digest"] = blake2b(data, digest_size=16).digest()
    features["bytes"] = len(data)
    features["height"], features["width"] = header.height, header.width
    features["cmyk"], features["has_profile"] = header.mode == "CMYK", header.has_profile
    features["chroma"] = grey_chroma(rgb)
    features["descriptor"] = descriptor(rgb)
    return features, None


def grey_chroma(rgb: Tensor) -> float:
    """Return the 95th percentile of the chroma, the length of (a, b), of an image.

    Args:
        rgb: (3, H, W), uint8, sRGB.

    Returns:
        LAB units; infinity for a clearly colored image, which is not converted.
    """
    rgb = rgb.contiguous()  # decoders return interleaved channels; planes are four times as fast
    spread = rgb.amax(0) - rgb.amin(0)
    # Plus 1, because the percentile lies between two pixels.
    if int((spread >= _COLORFUL_SPREAD).sum()) > 0.05 * spread.numel() + 1:
        return math.inf
    _, ab = to_lab(rgb.unsqueeze(0))
    return float(np.percentile(ab.norm(dim=1).numpy(), 95))


def descriptor(rgb: Tensor) -> np.ndarray:
    """Describe the shapes of an image, invariant to size, brightness, contrast and color.

    The lowest frequencies of the brightness. Their signs are a perceptual hash (Zauner 2010). The
    numbers themselves separate better: a copy lies within a few hundredths of its original,
    another image at several tenths.

    Args:
        rgb: (3, H, W), uint8, of any size.

    Returns:
        (35,), float32, of length 1; NaN for an image without contrast.
    """
    grey = TF.rgb_to_grayscale(TF.resize(rgb, [_SIDE, _SIDE], antialias=True))[0]
    # Scaled so that the squares of all frequencies but the zeroth sum to the variance.
    low = dctn(grey.numpy().astype(np.float32), norm="ortho")[_LOW] / _SIDE
    contrast = np.linalg.norm(low)
    described: np.ndarray = low / (contrast if contrast >= _FLAT else np.nan)
    return described
