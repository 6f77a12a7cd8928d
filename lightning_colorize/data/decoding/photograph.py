"""Reads an image file for `colorize`: at its own depth, with transparency and metadata."""

from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, TiffImagePlugin
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_colorize.color import WHITE, to_eight_bits
from lightning_colorize.data.decoding.colors import (
    deep_grey,
    orientation,
    scale,
    split_alpha,
    srgb_transform,
    to_srgb,
    upright,
)
from lightning_colorize.data.decoding.files import LIMITS, Limits, is_damaged, opened
from lightning_colorize.data.decoding.metadata import Metadata, read_metadata

EMPTY_ALPHA = "transparency ignored: alpha is 0 everywhere"

_DEPTH_OF_PNG = 24  # where its header says how many bits a channel has


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
    with opened(data, path, limits) as image:
        image.load()
        notes = list(image.info.get("notes", ()))
        metadata = read_metadata(image)
        is_deep = _is_deep(image, data)
        planes, found = _deep_planes(image, data) if is_deep else (None, [])
        notes += found
        if is_deep and planes is None:
            notes.append("reduced to 8 bits")
            if image.info.pop("transparency", None) is not None:  # a color of 16 bits
                notes.append("transparent color dropped")
        if planes is None:
            opaque, alpha = split_alpha(image)
            opaque.info["icc_profile"] = image.info.get("icc_profile")
            rgb = pil_to_tensor(to_srgb(opaque))
            planes = rgb if alpha is None else torch.cat([rgb, pil_to_tensor(alpha)])
            planes = upright(planes, orientation(image))
    notes += ["damaged JPEG data"] * is_damaged(data)
    white = WHITE[planes.dtype]
    low, high = map(int, planes[3].float().aminmax()) if len(planes) > 3 else (white, white)
    notes += [EMPTY_ALPHA] * (high == 0)
    seen = high > 0 and low < white
    return Photograph(planes[:3], planes[3:] if seen else None, metadata, tuple(notes))


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Return whether an image has more than 8 bits per channel, and a mode or file to tell it."""
    if image.format == "PNG":
        return data[_DEPTH_OF_PNG] > 8 and not image.tell()
    bits = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE, (8,))[0]
    return bits > 8 or image.mode.startswith(("I", "F")) or bool(image.info.get("deep"))


def _deep_planes(image: Image.Image, data: bytes) -> tuple[Tensor | None, list[str]]:
    """Return (3 or 4, H, W), uint16, upright, of a loaded deep image, and notes on its range.

    None if no reader keeps its depth, or its profile must be converted, which takes 8 bits.
    """
    is_grey = image.mode.startswith(("I", "F"))
    values, notes = deep_grey(image) if is_grey else (image.info.get("values"), [])
    profile = image.info.get("icc_profile")
    if profile and srgb_transform(profile, "L" if is_grey else "RGB") is not None:
        return None, notes
    if image.format == "PNG" and not is_grey:
        try:
            values, notes = scale(_deep_png(image, data))
        except Exception:  # nearly any class; the image is read at 8 bits
            return None, notes
    if values is None or values.dtype != np.uint16:
        return None, notes
    values = values[None] if is_grey else np.moveaxis(values, -1, 0)
    if len(values) < 3:  # grey
        values = np.concatenate([values[:1]] * 3 + [values[1:]])
    if (key := image.info.get("transparency")) is not None:  # a single color of a PNG
        opaque = (values != np.reshape(key, (-1, 1, 1))).any(axis=0, keepdims=True)
        values = np.concatenate([values, opaque * np.uint16(65535)])
    # torch mirrors no uint16.
    signed = torch.from_numpy(np.ascontiguousarray(values).view(np.int16))
    return upright(signed, orientation(image)).contiguous().view(torch.uint16), notes


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
