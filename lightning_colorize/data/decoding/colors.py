"""Pillow images of any mode, depth, color space and orientation to upright 8-bit sRGB."""

import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from io import BytesIO
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin
from torch import Tensor

from lightning_colorize.color.precision import ProcessSetting

_GREY_MODES = ("1", "L", "LA", "La")
_SAME_COLOR = 2
_RANGE, _MOST_UNSIGNED = (340, 341), 281  # the least and the largest sample, as a TIFF's tags
_WHITES = 1.0, 100.0, 255.0, 65535.0
_NO_TAGS: Mapping[int, Any] = {}


def _lift_limit() -> Callable[[], None]:
    restore = partial(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = sys.maxsize
    return restore


NO_PILLOW_LIMIT = ProcessSetting(_lift_limit)
"""Lifts Pillow's limit of pixels; `files.Limits` replaces it."""


XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|>\s*))([1-8])""")
"""The property in its notations, of which Pillow knows two."""


def orientation(image: Image.Image) -> int:
    """Return the orientation of EXIF or else XMP, 1 to 8; 1 if it is missing or damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged EXIF block raises nearly any class; the pixels may be intact
        orientation = None
    if orientation is None:
        return xmp_orientation(image.info.get("xmp"))
    return orientation if orientation in range(1, 9) else 1


def xmp_orientation(xmp: object) -> int:
    """Return the orientation of an XMP block, 1 if it has none or is not bytes."""
    found = XMP_ORIENTATION.search(xmp) if isinstance(xmp, bytes) else None
    return int(found[2]) if found else 1


def upright(pixels: Tensor, exif: int) -> Tensor:
    """Apply an EXIF orientation, 1 to 8, to (3, H, W)."""
    if exif >= 5:
        pixels = pixels.transpose(1, 2)
    axes = [1] * (exif in (3, 4, 7, 8)) + [2] * (exif in (2, 3, 6, 7))
    return pixels.flip(axes) if axes else pixels


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert to mode RGB in sRGB.

    Deep images are scaled to 8 bits, transparency is composited over white unless nothing would be
    seen, and embedded profiles are converted (relative colorimetric). CMYK without a profile is
    converted by Pillow's formula.
    """
    profile = image.info.get("icc_profile")
    opaque, alpha = split_alpha(image)
    if alpha is not None and alpha.getbbox():  # many programs leave the fourth channel empty
        opaque = Image.composite(opaque, Image.new(opaque.mode, opaque.size, "white"), alpha)
    transform = srgb_transform(profile, opaque.mode) if profile else None
    if transform is not None:
        return transform.apply(opaque)
    return opaque if opaque.mode == "RGB" else opaque.convert("RGB")


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colors as if they were opaque, in mode L, RGB or CMYK, and the alpha channel."""
    if image.mode.startswith(("I", "F")):  # Pillow would clip them to white
        return Image.fromarray(eight_bits(deep_grey(image)[0])), None
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image, None
    alpha = None
    mode = "L" if image.mode in _GREY_MODES else "RGB"
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        alpha = image.getchannel("A")
    return image if image.mode in (mode, "CMYK") else image.convert(mode), alpha


@lru_cache(maxsize=64)
def srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from an embedded profile to sRGB, or None if none is needed.

    Profiles are compared with sRGB by their effect, not by their name: dozens of profiles are sRGB
    with tables that differ in the last digits. None if the profile changes a grid of colors by at
    most 2 levels of 255, is damaged, or is for another mode (L, RGB or CMYK).
    """
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        return None
    bands = Image.getmodebands(mode)
    steps = np.linspace(0, 255, 256 if bands == 1 else 6).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * bands), axis=-1)
    colors = Image.frombytes(mode, (grid.size // bands, 1), grid.tobytes())
    converted = np.asarray(transform.apply(colors), dtype=np.int16)
    difference = converted - np.asarray(colors.convert("RGB"))
    return transform if np.abs(difference).max() > _SAME_COLOR else None


def deep_grey(image: Image.Image) -> tuple[np.ndarray, list[str]]:
    """Return the values of a loaded image of mode I;16, I or F: (H, W), scaled as by `scale`."""
    tags = getattr(image, "tag_v2", {})
    values: np.ndarray = np.asarray(image)
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    if image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I"):
        values = (values.astype(np.uint32) * 65535 // (2**bits - 1)).astype(np.uint16)
    values, notes = scale(values, tags)
    white_is_zero = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    return ~values if white_is_zero else values, notes


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Round uint16 to uint8; uint8 remains."""
    rounded = values if values.dtype == np.uint8 else (values + np.uint32(128)) // 257
    return rounded.astype(np.uint8)


def scale(values: np.ndarray, tags: Mapping[int, Any] = _NO_TAGS) -> tuple[np.ndarray, list[str]]:
    """Scale values of any shape and type to the range that they use: to uint16, or else uint8.

    uint8 and uint16 have their full range, but uint16 below 2^12, or with a used or declared
    maximum of 2^13 - 1, 2^14 - 1 or 2^15 - 1, has that number of bits. Other types have that in the
    tags of a TIFF. Without, white is the first of 1, 100 (both for floats), 255 and 65535 that no
    value exceeds, or the maximum if it is below half of that (a sixteenth of 1); black is 0, or the
    minimum if it is clearly negative. NaN is black. A note names a range that is not the usual one.
    """
    is_float = values.dtype.kind == "f"
    finite = values[np.isfinite(values)] if is_float else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    black, full = 0.0, {"uint8": 255.0, "uint16": 65535.0}.get(values.dtype.name, 1.0)
    least, most = (float(np.max(tags.get(tag, np.nan))) for tag in _RANGE)
    if values.dtype == np.uint16:
        high = max(high, float(np.max(tags.get(_MOST_UNSIGNED, 0))))
        white = 2.0 ** max(8, int(high).bit_length()) - 1
        white = white if white < 2**12 or high == white else full
    elif values.dtype == np.uint8:
        white = full
    elif least <= low <= high <= most:
        black, white = least, most
    else:
        white = next((w for w in _WHITES[0 if is_float else 2 :] if high <= w), high)
        white = high if high < white / (16 if white == 1 else 2) else white
        black = low if low < -white / 16 else 0.0
    if values.dtype in (np.uint8, np.uint16) and white == full:
        return values, []
    notes = [f"scaled from {black:g} (black) to {white:g} (white)"] * ((black, white) != (0, full))
    top, kind = (65535, np.uint16) if values.dtype == np.uint16 else (255, np.uint8)
    shares = np.nan_to_num(values.astype(np.float32), nan=black, posinf=white) - black
    return (shares * (top / ((white - black) or 1))).round().clip(0, top).astype(kind), notes
