"""An image file as `colorize` needs it: at its own depth, with transparency and metadata."""

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, TiffImagePlugin
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from lightning_colorize.color import WHITE, to_eight_bits
from lightning_colorize.data.decoding.files import (
    LIMITS,
    Limits,
    decode_opened,
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
from lightning_colorize.data.decoding.png import undamaged

_SAME_GAMMA = 0.05  # relative to sRGB's


@dataclass(frozen=True)
class Photograph:
    """An upright image in sRGB.

    Attributes:
        rgb: (3, H, W), uint8 or uint16.
        alpha: (1, H, W) of the same dtype; None if every pixel is opaque.
        metadata: EXIF, XMP, IPTC and resolution.
        notes: What is given up of the file, in words.
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
        """Return it without transparency."""
        if self.alpha is None:
            return self
        share = self.alpha.float() / self.most
        rgb = self.most - share * (self.most - self.rgb.float())
        return replace(self, rgb=rgb.round().to(self.rgb.dtype), alpha=None)

    def to_eight_bits(self) -> "Photograph":
        """Return it with 8 bits per channel."""
        alpha = None if self.alpha is None else to_eight_bits(self.alpha)
        return replace(self, rgb=to_eight_bits(self.rgb), alpha=alpha)


def read_photograph(data: bytes, path: Path, limits: Limits = LIMITS) -> Photograph:
    """Decode the bytes of an image file.

    PNGs and TIFFs of 16 bits keep their depth, unless an embedded profile must be converted.

    Args:
        data: The content of the file.
        path: The file, for messages.
        limits: Of the image.

    Raises:
        ImageError: If they are not an image, or a damaged one.
    """
    with named_errors(path), open_image(data, limits) as image:
        stored = str(getattr(image, "tile", ""))  # loading clears it
        notes = []
        with suppress(Exception):  # the next image may be damaged
            # The others of an MPO are previews and gain maps of the same photograph.
            several = getattr(image, "is_animated", image.info.get("several", False))
            if image.format != "MPO" and several:
                notes.append("the first of several images")
        pixels = decode_opened(image, data)
        photograph = Photograph(pixels, metadata=read_metadata(image))
        is_deep = _is_deep(image, stored, data)
        deep = _read_deep(image, data) if is_deep else None
        if is_deep and deep is None:
            notes.append("reduced to 8 bits")
        if deep is not None:
            photograph = replace(photograph, rgb=deep[:3], alpha=_if_seen(deep[3:]))
        elif is_deep and "transparency" in image.info:
            # Of 16 bits, which Pillow compares with 8.
            notes.append("transparent color dropped")
        elif image.has_transparency_data:
            opaque, mask = split_alpha(image)
            alpha = _if_seen(upright(torch.from_numpy(np.array(mask))[None], orientation(image)))
            if alpha is not None:
                pixels = torch.from_numpy(np.array(to_srgb(opaque))).permute(2, 0, 1)
                pixels = upright(pixels, orientation(image))
                photograph = replace(photograph, rgb=pixels, alpha=alpha)
        return replace(photograph, notes=(*notes, *_color_notes(image)))


def _color_notes(image: Image.Image) -> list[str]:
    """Return how an image is shown otherwise than by its values, in words."""
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
    """Return whether an image has more than 8 bits per channel.

    Args:
        image: The image.
        stored: Its pixels' place and form in the file.
        data: The file.
    """
    if image.mode.startswith(("I", "F")) or image.format is None:
        return bool(image.info.get("deep", True))
    # In color, its mode is that of 8 bits.
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


def _read_deep(image: Image.Image, data: bytes) -> Tensor | None:
    """Return (3 or 4, H, W), uint16, of a 16-bit image; None if no reader keeps its depth."""
    profile = image.info.get("icc_profile")
    mode = "L" if image.mode.startswith("I") else "RGB"
    if profile and srgb_transform(profile, mode) is not None:
        return None
    values: np.ndarray | None
    try:
        if mode == "L":
            values = _upright_deep(_read_deep_grey(image)[None], orientation(image))
        elif image.format == "PNG":
            values = _read_deep_png(image, data)
        else:
            values = _read_deep_tiff(data)
    except Exception:  # of nearly any class; the image is read at 8 bits
        return None
    if values is None:
        return None
    if values.shape[0] < 3:  # grey
        values = np.concatenate([values[:1]] * 3 + [values[1:]])
    if (key := image.info.get("transparency")) is not None:  # a single color of a PNG
        opaque = (values != np.reshape(key, (-1, 1, 1))).any(axis=0, keepdims=True)
        values = np.concatenate([values, opaque * np.uint16(65535)])
    return torch.from_numpy(np.ascontiguousarray(values))


def _read_deep_grey(image: Image.Image) -> np.ndarray:
    """Return (H, W), uint16, of a grey image that Pillow has loaded."""
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    most = 2 ** tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0] - 1
    if values.dtype.itemsize > 2 and (image.format != "PPM" or values.max() > most):
        raise ValueError("of 32 bits")
    scaled: np.ndarray = ((values.astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
        np.subtract(65535, scaled, out=scaled)
    return scaled


def _read_deep_png(image: Image.Image, data: bytes) -> np.ndarray | None:
    whole = undamaged(data)
    if whole is None:
        return None
    encoded = torch.frombuffer(bytearray(whole), dtype=torch.uint8)
    pixels: Tensor = decode_image(encoded, ImageReadMode.UNCHANGED)
    return _upright_deep(pixels.numpy(), orientation(image))


def _read_deep_tiff(data: bytes) -> np.ndarray | None:
    import tifffile  # slow to import, and seldom needed

    with tifffile.TiffFile(BytesIO(data)) as tiff:
        page = tiff.pages.first
        tags = page.tags
        extra = tuple(page.extrasamples)
        color = page.photometric == 2
        if page.dtype != np.uint16 or page.bitspersample != 16 or page.photometric not in (1, 2):
            return None
        values = page.asarray()
        values = values[None] if page.axes == "YX" else values
        values = np.moveaxis(values, -1, 0) if page.axes == "YXS" else values
        channels = 3 if color else 1
        kept = channels + (extra[:1] == (2,))  # alpha, not premultiplied
        if values.ndim != 3 or extra[:1] == (1,) or len(values) < kept:
            return None
        values = values[:kept]
        rotation = tags.get("Orientation")
        return _upright_deep(values, 1 if rotation is None else int(rotation.value))


def _upright_deep(values: np.ndarray, exif: int) -> np.ndarray:
    # torch mirrors no uint16.
    signed = torch.from_numpy(np.ascontiguousarray(values).view(np.int16))
    turned: np.ndarray = np.ascontiguousarray(upright(signed, exif).numpy()).view(np.uint16)
    return turned
