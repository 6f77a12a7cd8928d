"""Conversion of Pillow images of any mode, depth and color space to 8-bit sRGB."""

import sys
from collections.abc import Callable
from functools import lru_cache, partial
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from lightning_colorize.color.precision import ProcessSetting

_GREY_MODES = ("1", "L", "LA", "La")
_SAME_COLOR = 2


def _lift_limit() -> Callable[[], None]:
    restore = partial(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = sys.maxsize
    return restore


NO_PILLOW_LIMIT = ProcessSetting(_lift_limit)
"""Lifts Pillow's limit of pixels; `files.Limits` replaces it."""


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert to mode RGB in sRGB.

    Deep images are scaled to 8 bits, transparency is composited over white, and embedded profiles
    are converted (relative colorimetric). CMYK without a profile is converted by Pillow's formula.
    """
    profile = image.info.get("icc_profile")
    image = _over_white(_to_eight_bits(image))
    transform = srgb_transform(profile, image.mode) if profile else None
    if transform is not None:
        return transform.apply(image)
    return image.convert("RGB")


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


def scale_to_eight_bits(values: np.ndarray, white: float | None = None) -> np.ndarray:
    """Scale values of any shape and type linearly from 0 to 0..255, without clipping to white.

    NaN counts as 0. `white` is the value that becomes 255: by default the full range of 8 and 16
    unsigned bits. For other types, it is the first of 1 (floats only), 255 and 65535 that no value
    exceeds, else the maximum. A float image with a maximum between 1 and 16 is scaled by its
    maximum.
    """
    if white is None:
        white = _white_of(values)
    scaled = np.nan_to_num(values.astype(np.float32), posinf=white) * (255 / white)
    return scaled.round().clip(0, 255).astype(np.uint8)


def scaling_notes(values: np.ndarray) -> list[str]:
    """Return notes on what scaling to 8 bits changes in addition to the depth."""
    notes = []
    if _white_of(values) not in (1, 255, 65535):
        notes.append("scaled until its maximum is white")
    if np.isnan(values).any():
        notes.append("values that are not a number are black")
    return notes


def _white_of(values: np.ndarray) -> float:
    if values.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(values.dtype).max)
    finite = values[np.isfinite(values)]
    maximum = float(finite.max()) if finite.size else 1.0
    if values.dtype.kind == "f" and maximum <= 16:
        return max(maximum, 1.0)
    return next((white for white in (255.0, 65535.0) if maximum <= white), maximum)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale the deep modes (I;16, I, F), which Pillow would clip to white."""
    if not image.mode.startswith(("I", "F")):
        return image
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    white = None
    if image.mode.startswith("I;16"):
        white = 2.0 ** tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0] - 1
    elif image.format == "PPM" and image.mode == "I":
        white = 65535.0
    grey = scale_to_eight_bits(values, white)
    return Image.fromarray(
        255 - grey if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 else grey
    )


def _over_white(image: Image.Image) -> Image.Image:
    """Return the image in mode L, RGB or CMYK, composited over white."""
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    if image.has_transparency_data:
        rgba = _to_rgba(image)
        white = Image.new("RGBA", rgba.size, "white")
        flat = Image.alpha_composite(white, rgba)
        return flat.convert("L" if image.mode in _GREY_MODES else "RGB")
    if image.mode in ("L", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return the colors of an image with transparency, as if it were opaque, and its alpha."""
    rgba = _to_rgba(image)
    opaque = rgba.convert("L" if image.mode in _GREY_MODES else "RGB")
    opaque.info = {k: v for k, v in image.info.items() if k == "icc_profile"}
    return opaque, rgba.getchannel("A")


def _to_rgba(image: Image.Image) -> Image.Image:
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
