"""Reads an image file for `colorize`: at its own depth, with transparency and metadata."""

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, TiffImagePlugin
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_colorize.color import WHITE, to_eight_bits
from lightning_colorize.data.decoding.files import (
    LIMITS,
    Limits,
    decode_and_check,
    named_errors,
    open_image,
    upright,
)
from lightning_colorize.data.decoding.jpeg import orientation
from lightning_colorize.data.decoding.metadata import Metadata, read_metadata
from lightning_colorize.data.decoding.pillow_modes import (
    scaling_notes,
    split_alpha,
    srgb_transform,
    to_srgb,
)

_SAME_GAMMA = 0.05  # relative to sRGB's


@dataclass(frozen=True)
class Photograph:
    """An upright image in sRGB.

    `rgb` is (3, H, W), uint8 or uint16; `alpha` is (1, H, W) of the same dtype, None if every pixel
    is opaque. `notes` name the information lost on reading.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()

    @property
    def most(self) -> int:
        """The value of white: 255 or 65535."""
        return WHITE[self.rgb.dtype]

    def over_white(self) -> "Photograph":
        """Return the photograph without transparency."""
        if self.alpha is None:
            return self
        share = self.alpha.float() / self.most
        rgb = self.most - share * (self.most - self.rgb.float())
        return replace(self, rgb=rgb.round().to(self.rgb.dtype), alpha=None)

    def to_eight_bits(self) -> "Photograph":
        """Return the photograph with 8 bits per channel."""
        alpha = None if self.alpha is None else to_eight_bits(self.alpha)
        return replace(self, rgb=to_eight_bits(self.rgb), alpha=alpha)


def read_photograph(data: bytes, path: Path, limits: Limits = LIMITS) -> Photograph:
    """Decode the bytes of an image file; raises an ImageError as `read_image` does.

    PNGs and TIFFs of 16 bits keep their depth, unless an embedded profile must be converted. The
    path is for messages.
    """
    with named_errors(path), open_image(data, limits) as image:
        stored = str(getattr(image, "tile", ""))  # loading clears it
        notes = []
        with suppress(Exception):  # the next image may be damaged
            # The others of an MPO are previews and gain maps of the same photograph.
            several = getattr(image, "is_animated", image.info.get("several", False))
            notes += ["the first of several images"] * (several and image.format != "MPO")
        (rgb, is_damaged), alpha = decode_and_check(image, data), None
        notes += ["damaged JPEG data"] * is_damaged
        metadata = read_metadata(image)
        is_deep = _is_deep(image, stored, data)
        kept = is_deep and not _is_converted(image)
        one_color = is_deep and "transparency" in image.info
        deep = _read_deep(image, data, limits) if kept or one_color else None
        notes += ["reduced to 8 bits"] * (is_deep and not (kept and deep is not None))
        if kept and deep is not None:
            rgb, alpha = deep[:3], _if_seen(deep[3:])
        elif one_color:
            del image.info["transparency"]  # of 16 bits, which Pillow compares with 8
            rgb = upright(pil_to_tensor(to_srgb(image)), orientation(image))
            alpha = None if deep is None else _if_seen(to_eight_bits(deep[3:]))
            notes += ["transparent color dropped"] * (deep is None)
        elif image.has_transparency_data:
            opaque, mask = split_alpha(image)
            alpha = _if_seen(upright(pil_to_tensor(mask), orientation(image)))
            if alpha is not None:
                rgb = upright(pil_to_tensor(to_srgb(opaque)), orientation(image))
        return Photograph(rgb, alpha, metadata, (*notes, *_color_notes(image)))


def _color_notes(image: Image.Image) -> list[str]:
    """Return notes on how the colors shown differ from the stored values."""
    if image.format is None:  # `open_image` has scaled it
        return list(image.info["notes"])
    if image.mode in ("I", "F"):
        return scaling_notes(np.asarray(image))
    gamma = image.info.get("gamma")
    replaced = "srgb" in image.info or "icc_profile" in image.info
    if image.format != "PNG" or replaced or not isinstance(gamma, float):
        return []
    # libpng corrects no smaller difference either.
    return [f"gamma of {gamma:g} dropped"] if abs(gamma * 2.2 - 1) > _SAME_GAMMA else []


def _if_seen(alpha: Tensor) -> Tensor | None:
    """Return an alpha channel, (0 or 1, H, W), or None if there is none or all is opaque."""
    if not alpha.numel():
        return None
    return alpha if int(alpha.float().min()) < WHITE[alpha.dtype] else None


def _is_deep(image: Image.Image, stored: str, data: bytes) -> bool:
    """Return whether a loaded image has more than 8 bits per channel.

    `stored` are its tiles before loading, as text.
    """
    if image.mode.startswith(("I", "F")) or image.format is None:
        return bool(image.info.get("deep", True))
    # Pillow opens deep color images in a mode of 8 bits.
    if image.format == "PPM":
        largest = re.search(r"\('\w+', (\d+)\)", stored)
        return largest is not None and int(largest[1]) > 255
    if image.format == "JPEG2000":
        size = data.find(b"\xff\x4f\xff\x51")  # the first markers of the codestream
        return size >= 0 and data[size + 42] & 0x7F >= 8
    if image.format == "AVIF":
        configuration = data.find(b"av1C")
        return configuration >= 0 and bool(data[configuration + 6] & 0x40)
    return image.format in ("PNG", "TIFF") and ";16" in stored


def _is_converted(image: Image.Image) -> bool:
    """Return whether a 16-bit image has a profile that must be converted, at 8 bits."""
    profile, mode = image.info.get("icc_profile"), "L" if image.mode.startswith("I") else "RGB"
    return bool(profile) and srgb_transform(profile, mode) is not None


def _read_deep(image: Image.Image, data: bytes, limits: Limits) -> Tensor | None:
    """Return (3 or 4, H, W), uint16, of a 16-bit image; None if no reader keeps its depth."""
    is_grey = image.mode.startswith("I")
    exif = orientation(image)
    try:
        if is_grey:
            values = _read_deep_grey(image)[None]
        elif image.format == "PNG":
            values = np.moveaxis(_read_deep_png(image, open_image(data, limits)), -1, 0)
        else:
            values, exif = _read_deep_tiff(data)
    except Exception:  # nearly any class; the image is read at 8 bits
        return None
    if len(values) < 3:  # grey
        values = np.concatenate([values[:1]] * 3 + [values[1:]])
    if (key := image.info.get("transparency")) is not None:  # a single color of a PNG
        opaque = (values != np.reshape(key, (-1, 1, 1))).any(axis=0, keepdims=True)
        values = np.concatenate([values, opaque * np.uint16(65535)])
    # torch mirrors no uint16.
    signed = torch.from_numpy(np.ascontiguousarray(values).view(np.int16))
    return upright(signed, exif).contiguous().view(torch.uint16)


def _read_deep_grey(image: Image.Image) -> np.ndarray:
    """Return (H, W), uint16, of a grey image that Pillow has loaded."""
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    most = 2 ** tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0] - 1
    if values.dtype.itemsize > 2 and (image.format != "PPM" or values.max() > most):
        raise ValueError("32 bits")
    scaled: np.ndarray = ((values.astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
        np.subtract(65535, scaled, out=scaled)
    return scaled


def _read_deep_png(image: Image.Image, again: Image.Image) -> np.ndarray:
    """Return (H, W, channels), uint16, of a PNG whose color Pillow reduces to 8 bits.

    torchvision keeps 16 bits too, but libpng's errors crash its process. The 8 bits of `image` are
    the upper bytes; those of `again`, not loaded and read as little-endian, are the lower bytes.
    """
    (tile,) = again.tile  # type: ignore[attr-defined]
    if tile.args == "LA;16B":  # four bytes a pixel
        again.tile = [tile._replace(args="RGBA")]  # type: ignore[attr-defined]
        return np.asarray(again).view(">u2").astype(np.uint16)
    again.tile = [tile._replace(args=tile.args.replace("16B", "16L"))]  # type: ignore[attr-defined]
    values: np.ndarray = np.asarray(image) * np.uint16(256) + np.asarray(again)
    return values


def _read_deep_tiff(data: bytes) -> tuple[np.ndarray, int]:
    """Return (channels, H, W), uint16, as stored; and the EXIF orientation."""
    import tifffile  # slow to import, and seldom needed

    with tifffile.TiffFile(BytesIO(data)) as tiff:
        page = tiff.pages.first
        extra = tuple(page.extrasamples)[:1]
        if page.dtype != np.uint16 or page.bitspersample != 16 or extra == (1,):
            raise ValueError("not of 16 bits, or premultiplied")
        channels = {1: 1, 2: 3}[page.photometric] + (extra == (2,))  # grey or RGB, and alpha
        values = page.asarray()
        values = values[None] if page.axes == "YX" else values
        values = np.moveaxis(values, -1, 0) if page.axes == "YXS" else values
        if values.ndim != 3 or len(values) < channels:
            raise ValueError("not an image")
        rotation = page.tags.get("Orientation")
        return values[:channels], 1 if rotation is None else int(rotation.value)
