"""Readers that keep 16 bits per channel, which Pillow reduces to 8 for all colors."""

from io import BytesIO

import numpy as np
import torch
from PIL import Image, TiffImagePlugin
from torch import Tensor

from lightning_colorize.data.decoding.colors import orientation, srgb_transform, upright
from lightning_colorize.data.decoding.ranges import deep_grey, scale_planes, to_bytes

_DEPTH_OF_PNG = 24  # where its header says how many bits a channel has
_DIM = 127  # of 255


def is_deep(image: Image.Image, data: bytes) -> bool:
    """Return whether an image has more than 8 bits per channel, and a mode or file to tell it."""
    if image.format == "PNG":
        return data[_DEPTH_OF_PNG] > 8 and not image.tell()
    bits = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE, (8,))[0]
    return bits > 8 or image.mode.startswith(("I", "F")) or bool(image.info.get("deep"))


def deep_planes(image: Image.Image, data: bytes) -> tuple[Tensor | None, list[str]]:
    """Return (3 or 4, H, W), uint16, upright, of a loaded deep image, and notes on its range.

    None if no reader keeps its depth, or its profile must be converted, which takes 8 bits.
    """
    is_grey = image.mode.startswith(("I", "F"))
    profile = image.info.get("icc_profile")
    notes: list[str] = []
    exif = orientation(image)
    try:
        if is_grey:
            values, notes = deep_grey(image)
            values = values[None]
        if profile and srgb_transform(profile, "L" if is_grey else "RGB") is not None:
            return None, notes
        if not is_grey:
            values, notes, exif = _deep_colors(image, data)
    except Exception:  # nearly any class; the image is read at 8 bits
        return None, notes
    if values.dtype != np.uint16:
        return None, notes
    if len(values) < 3:  # grey
        values = np.concatenate([values[:1]] * 3 + [values[1:]])
    if (key := image.info.get("transparency")) is not None:  # a single color of a PNG
        opaque = (values != np.reshape(key, (-1, 1, 1))).any(axis=0, keepdims=True)
        values = np.concatenate([values, opaque * np.uint16(65535)])
    # torch mirrors no uint16.
    signed = torch.from_numpy(np.ascontiguousarray(values).view(np.int16))
    return upright(signed, exif).contiguous().view(torch.uint16), notes


def brightened(image: Image.Image, data: bytes) -> tuple[Image.Image, list[str]]:
    """Return a loaded image, scaled to its range if it is stored in the lowest of 16 bits.

    For example 12 bits in 16, of which Pillow would keep 4.
    """
    if image.mode not in ("LA", "RGB", "RGBA") or not is_deep(image, data):
        return image, []
    if np.max(image.getextrema()[: 1 if image.mode == "LA" else 3]) > _DIM:
        return image, []
    try:
        values, notes, exif = _deep_colors(image, data)
    except Exception:
        return image, []
    if not notes:
        return image, []
    bright = Image.fromarray(to_bytes(np.moveaxis(values, 0, -1)))
    bright.info["icc_profile"] = image.info.get("icc_profile")
    bright.getexif()[274] = exif
    return bright, notes


def _deep_colors(image: Image.Image, data: bytes) -> tuple[np.ndarray, list[str], int]:
    """Return (channels, H, W) as stored, notes on the range, and the EXIF orientation."""
    if image.format == "PNG":
        return *scale_planes(np.moveaxis(_deep_png(image, data), -1, 0)), orientation(image)
    import tifffile  # slow to import, and seldom needed

    with tifffile.TiffFile(BytesIO(image.info["data"])) as tiff:
        page = tiff.pages.first
        extra = tuple(page.extrasamples)[:1]
        channels = {1: 1, 2: 3}[page.photometric] + (extra == (2,))  # grey or RGB, and alpha
        if page.bitspersample != 16 or extra == (1,):
            raise ValueError("not of 16 bits, or premultiplied")
        values = page.asarray()
        if page.axes.endswith("S"):
            values = np.moveaxis(values, -1, 0)
        rotation = page.tags.get("Orientation")
        planes = values.reshape(-1, *values.shape[-2:])[:channels]
        tags = {tag.code: tag.value for tag in page.tags}
        return *scale_planes(planes, tags), getattr(rotation, "value", 1)


def _deep_png(image: Image.Image, data: bytes) -> np.ndarray:
    """Return (H, W, channels), uint16, of a PNG whose color Pillow reduces to 8 bits.

    The 8 bits of `image` are the upper bytes; opened again and read as little-endian, the lower.
    """
    again = Image.open(BytesIO(data), formats=("PNG",))
    (tile,) = again.tile
    if tile.args == "LA;16B":  # four bytes a pixel
        again.tile = [tile._replace(args="RGBA")]
        return np.asarray(again).view(">u2").astype(np.uint16)
    again.tile = [tile._replace(args=str(tile.args).replace("16B", "16L"))]
    values: np.ndarray = np.asarray(image) * np.uint16(256) + np.asarray(again)
    return values
