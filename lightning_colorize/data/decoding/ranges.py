"""Values of more than 8 bits, or signed, or floats: their range, and their scaling to it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

_LEAST, _MOST, _MOST_UNSIGNED = 340, 341, 281  # TIFF tags of a declared range
_STORED_BITS = 12  # cameras and scanners store up to so many in 16 bits without scaling them
_WHITES = (1.0, 100.0, 255.0, 65535.0)


def value_range(values: np.ndarray, tags: Mapping[int, Any]) -> tuple[float, float]:
    """Return the values of black and white: as a TIFF declares them in its tags, or as used.

    Unsigned values of 8 and 16 bits have their full range, unless those of 16 bits are below 2^12,
    or have a declared or used maximum of 2^13 - 1, 2^14 - 1 or 2^15 - 1. White of other types is
    the first of 1, 100 (both for floats), 255 and 65535 that no value exceeds, or the maximum if it
    is below half of that (of 1: below a sixteenth). Black is 0, or a minimum that is clearly below.
    """
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if values.dtype == np.uint8:
        return 0.0, 255.0
    if values.dtype == np.uint16:
        high = max(high, float(np.max(tags.get(_MOST_UNSIGNED, 0))))
        white = float(2 ** max(8, int(high).bit_length()) - 1)
        return 0.0, white if white < 2**_STORED_BITS or high == white else 65535.0
    if _LEAST in tags and _MOST in tags:
        black, white = float(np.min(tags[_LEAST])), float(np.max(tags[_MOST]))
        if black <= low and black < white >= high:
            return black, white
    usual = _WHITES if values.dtype.kind == "f" else _WHITES[2:]
    white = next((white for white in usual if high <= white), high)
    if high < white / (16 if white == 1 else 2):
        white = high
    black = low if low < -white / 16 else 0.0
    return black, white if white > black else black + 1


def scale(
    values: np.ndarray, tags: Mapping[int, Any] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Scale values of any shape and type linearly: uint16 to uint16, others to uint8.

    NaN becomes black. Returns the values, and a note unless they are unsigned and use the range of
    8 or 16 bits, or floats that use 0 to 1.
    """
    black, white = value_range(values, tags or {})
    usual = {"uint8": 255, "uint16": 65535}.get(values.dtype.name, 1)
    notes = [f"scaled from {black:g} (black) to {white:g} (white)"] * ((black, white) != (0, usual))
    if values.dtype == np.uint16:
        if notes:
            values = (values.astype(np.uint32) * 65535 // int(white)).clip(max=65535)
        return values.astype(np.uint16), notes
    finite = np.nan_to_num(values.astype(np.float32), nan=black, posinf=white, neginf=black)
    scaled = ((finite - black) * (255 / (white - black))).round().clip(0, 255)
    return scaled.astype(np.uint8), notes


def scale_planes(
    planes: np.ndarray, tags: Mapping[int, Any] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Scale (channels, H, W) as `scale` does; an alpha channel, the second or fourth, by itself."""
    colors, alpha = np.split(planes, [1 if len(planes) < 3 else 3])
    scaled, notes = scale(colors, tags)
    if notes or planes.dtype != np.uint16:
        alpha, _ = scale(alpha)
    return np.concatenate([scaled, alpha]), notes


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Round uint16 to uint8, which remains."""
    if values.dtype == np.uint8:
        return values
    return ((values + np.uint32(128)) // 257).astype(np.uint8)


def deep_grey(image: Image.Image) -> tuple[np.ndarray, list[str]]:
    """Return the scaled values of a loaded image of mode I;16, I or F, (H, W), and the notes."""
    tags = getattr(image, "tag_v2", {})
    values: np.ndarray = np.asarray(image)
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    if image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I"):
        values = (values.astype(np.uint32) * 65535 // (2**bits - 1)).astype(np.uint16)
    values, notes = scale(values, tags)
    # White is zero.
    return ~values if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 else values, notes
