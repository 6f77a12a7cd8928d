"""Reads an image file for `colorize`: at its own depth, with transparency and metadata."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_colorize.color import WHITE, to_eight_bits
from lightning_colorize.data.decoding.colors import orientation, split_alpha, to_srgb, upright
from lightning_colorize.data.decoding.deep import brightened, deep_planes, is_deep
from lightning_colorize.data.decoding.files import LIMITS, Limits, is_damaged, opened
from lightning_colorize.data.decoding.metadata import Metadata, read_metadata

EMPTY_ALPHA = "transparency ignored: alpha is 0 everywhere"


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
        planes = None
        if is_deep(image, data):
            planes, found = deep_planes(image, data)
            notes += found
            if planes is None:
                notes.append("reduced to 8 bits")
                if image.info.pop("transparency", None) is not None:  # a color of 16 bits
                    notes.append("transparent color dropped")
                image, found = brightened(image, data)
                notes += found
        if planes is None:
            opaque, transparency = split_alpha(image)
            opaque.info["icc_profile"] = image.info.get("icc_profile")
            rgb = pil_to_tensor(to_srgb(opaque))
            alpha = rgb[:0] if transparency is None else pil_to_tensor(transparency)
            planes = upright(torch.cat([rgb, alpha]), orientation(image))
    notes += ["damaged JPEG data"] * is_damaged(data)
    rgb, alpha = planes[:3], planes[3:]
    is_empty = len(alpha) > 0 and not alpha.float().any()
    notes += [EMPTY_ALPHA] * is_empty
    seen = len(alpha) and not is_empty and int(alpha.float().min()) < WHITE[planes.dtype]
    return Photograph(rgb, alpha if seen else None, metadata, tuple(dict.fromkeys(notes)))
