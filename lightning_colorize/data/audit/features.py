"""The audit features of one image, in a record of fixed length."""

import math
from hashlib import blake2b
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import colorfulness, to_lab, to_unit
from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.decoding.files import (
    LIMITS,
    decode_and_check,
    named_errors,
    open_image,
    read_header,
)

SIDE = 48
"""Height and width of a thumbnail."""

# Root-mean-square contrast in levels of 255, below which a thumbnail would be noise.
_FLAT = 2.0
# Width of the histogram's smoothing, in standard deviations: it bounds the gain of noise.
_SMOOTHING = 0.15
# Levels by which a border's pixels may differ, except for a few next to the image.
_BORDER_LEVELS = 10
_BORDER_SHARE = 0.98

NEAR_GREY = 5.0
"""An image is near-grey if the 95th percentile of its chroma is below this, in LAB units."""

# All 8-bit colors whose channels differ by this much have a chroma of at least 9.
_COLORFUL_SPREAD = 32

FEATURES = np.dtype(
    [
        ("digest", "S16"),  # of the file's bytes
        ("bytes", np.int64),
        ("height", np.int32),
        ("width", np.int32),
        ("damaged", np.bool_),  # JPEG data, as returned by `decode_and_check`
        ("cmyk", np.bool_),
        ("has_profile", np.bool_),
        ("chroma", np.float32),  # as returned by `grey_chroma`
        ("colorfulness", np.float32),  # from absolute differences, as BigColor's code measures it
        ("thumbnail", np.uint8, (SIDE, SIDE)),  # as returned by `thumbnail`
        ("border", np.float16, 4),  # as returned by `border`
    ]
)
"""The features of an image; all zeros if it is broken."""

# Features are computed at this short side: close to what training reads, and fast to decode.
_FEATURE_SIDE = 128


def audit_image(data: bytes, path: Path) -> np.ndarray:
    """Compute the features of an image file, () of `FEATURES`; an ImageError if it is broken."""
    features = np.zeros((), dtype=FEATURES)
    header = read_header(data, path)
    with named_errors(path), open_image(data, LIMITS) as image:
        rgb, features["damaged"] = decode_and_check(image, data)
    rgb = limit_length(rgb)
    rgb = resize_short_side(rgb, min(_FEATURE_SIDE, *rgb.shape[1:]))
    features["digest"] = blake2b(data, digest_size=16).digest()
    features["bytes"] = len(data)
    features["height"], features["width"] = header.height, header.width
    features["cmyk"], features["has_profile"] = header.mode == "CMYK", header.has_profile
    features["chroma"] = grey_chroma(rgb)
    features["colorfulness"] = colorfulness(to_unit(rgb[None]), absolute=True).item()
    grey = TF.rgb_to_grayscale(rgb)
    features["thumbnail"] = thumbnail(grey)
    features["border"] = border(grey[0].numpy())
    return features


def grey_chroma(rgb: Tensor) -> float:
    """Return the 95th percentile of the chroma, the length of (a, b), of (3, H, W), uint8, sRGB.

    In LAB units; infinity for a clearly colored image, which is not converted.
    """
    rgb = rgb.contiguous()  # decoders return interleaved channels; planes are four times as fast
    spread = rgb.amax(0) - rgb.amin(0)
    # Plus 1, because the percentile lies between two pixels.
    if int((spread >= _COLORFUL_SPREAD).sum()) > 0.05 * spread.numel() + 1:
        return math.inf
    _, ab = to_lab(rgb.unsqueeze(0))
    return float(np.percentile(ab.norm(dim=1).numpy(), 95))


def thumbnail(grey: Tensor) -> np.ndarray:
    """Return a small square image, invariant to size, color and any monotone change of tone.

    Its values are ranks (histogram equalization), so brightness, contrast, gamma and moderate
    clipping hardly change it. From (1, H, W), uint8, to (48, 48), uint8; zeros for an image without
    contrast.
    """
    small = TF.resize(grey, [SIDE, SIDE], antialias=True)[0].numpy()
    contrast = small.std()
    if contrast < _FLAT:
        return np.zeros_like(small)
    counts = np.bincount(small.ravel(), minlength=256).astype(float)
    smooth = gaussian_filter1d(counts, max(_SMOOTHING * contrast, 1), mode="constant")
    ranks = np.cumsum(smooth) * (255 / smooth.sum())
    result: np.ndarray = ranks.round().astype(np.uint8)[small]
    return result


def border(grey: np.ndarray) -> np.ndarray:
    """Return the widths of a uniform border of (H, W), uint8: left, top, right, bottom.

    (4,), as shares of the width or height; zeros if the border covers the whole image.
    """
    sides = (grey.T, grey, grey.T[::-1], grey[::-1])  # lines from the edge inwards
    widths = np.array([_uniform_lines(lines) / len(lines) for lines in sides])
    inside: bool = (widths[:2] + widths[2:] < 0.7).all()
    return widths if inside else np.zeros(4)


def _uniform_lines(lines: np.ndarray) -> int:
    color = np.median(lines[0])
    for count, line in enumerate(lines):
        if (np.abs(line - color) <= _BORDER_LEVELS).mean() < _BORDER_SHARE:
            return count
    return 0
