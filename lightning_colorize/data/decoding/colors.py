"""Pillow images of any mode, depth, color space and orientation to upright 8-bit sRGB."""

import re
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin
from torch import Tensor

from lightning_colorize.color.precision import ProcessSetting

_GREY_MODES = ("1", "L", "LA", "La")
_SAME_COLOR = 2


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

    Deep images are scaled to 8 bits, transparency is composited over white, and embedded profiles
    are converted (relative colorimetric). CMYK without a profile is converted by Pillow's formula.
    """
    profile = image.info.get("icc_profile")
    opaque, alpha = split_alpha(image)
    if alpha is not None:
        opaque = Image.composite(opaque, Image.new(opaque.mode, opaque.size, "white"), alpha)
    transform = srgb_transform(profile, opaque.mode) if profile else None
    if transform is not None:
        return transform.apply(opaque)
    return opaque if opaque.mode == "RGB" else opaque.convert("RGB")


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colors as if they were opaque, in mode L, RGB or CMYK, and the alpha channel."""
    if image.mode.startswith(("I", "F")):  # Pillow would clip them to white
        return Image.fromarray(scale_to_eight_bits(deep_grey(image))), None
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image, None
    alpha = None
    mode = "L" if image.mode in _GREY_MODES else "RGB"
    if image.has_transparency_data:
        form = image.format
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        alpha = image.getchannel("A")
        if form == "BMP" and not alpha.getbbox():  # many programs leave its fourth channel empty
            alpha = None
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


def deep_grey(image: Image.Image) -> np.ndarray:
    """Return the values of a loaded image of mode I;16, I or F: (H, W), uint16 if they fit."""
    tags = getattr(image, "tag_v2", {})
    values: np.ndarray = np.asarray(image)
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    if image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I"):
        values = (values.astype(np.uint32) * 65535 // (2**bits - 1)).astype(np.uint16)
        if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
            np.subtract(65535, values, out=values)
    return values


def scale_to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Scale values of any shape and type linearly from 0 to 0..255, without clipping to white.

    NaN counts as 0. The full range of 8 and 16 unsigned bits is kept. For other types, the first of
    1 (floats only), 255 and 65535 that no value exceeds becomes 255, else the maximum. A float
    image with a maximum between 1 and 16 is scaled by its maximum.
    """
    white = _white_of(values)
    scaled = np.nan_to_num(values.astype(np.float32), posinf=white) * (255 / white)
    return scaled.round().clip(0, 255).astype(np.uint8)


def _white_of(values: np.ndarray) -> float:
    if values.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(values.dtype).max)
    finite = values[np.isfinite(values)]
    maximum = float(finite.max()) if finite.size else 1.0
    if values.dtype.kind == "f" and maximum <= 16:
        return max(maximum, 1.0)
    return next((white for white in (255.0, 65535.0) if maximum <= white), maximum)
