"""A split's images as uint8 squares."""

from dataclasses import dataclass
from math import gcd
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.image_set import ImageSet

Resize = Literal["crop", "stretch"]
"""How an image becomes a square: its short side is resized and a square cropped along the long
side, or both sides are resized and the aspect ratio is lost."""

LONGEST = 4
"""The long side is cropped to at most this many times the short side.

Otherwise an image of one row and thousands of columns would be enlarged to gigabytes.
"""


def resize(rgb: Tensor, side: int, mode: Resize) -> Tensor:
    """Resize (..., 3, H, W), uint8, so that a square of `side` pixels can be cropped from it.

    Returns (..., 3, h, w), min(h, w) = side. With "stretch" the whole image becomes the square.
    """
    if mode == "crop":
        return resize_short_side(limit_length(rgb), side)
    stretched: Tensor = TF.resize(rgb, [side, side], antialias=True)
    return stretched


def resize_short_side(rgb: Tensor, side: int) -> Tensor:
    """Resize to (..., 3, h, w), uint8, with min(h, w) = side."""
    height, width = rgb.shape[-2:]
    if min(height, width) == side:
        return rgb
    scale = side / min(height, width)
    size = [max(side, round(height * scale)), max(side, round(width * scale))]
    resized: Tensor = TF.resize(rgb, size, antialias=True)
    return resized


def limit_length(rgb: Tensor, longest: int = LONGEST) -> Tensor:
    """Center-crop an image that is more than `longest` times as long as it is wide.

    Call it before resizing.
    """
    height, width = rgb.shape[-2:]
    most = longest * min(height, width)
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return rgb[..., top : top + most, left : left + most]


def crop_square(rgb: Tensor, side: int, position: float = 0.5) -> Tensor:
    """Crop (3, H, W), with H and W at least `side`, to (3, side, side), a view.

    `position` is along the long side: 0 start, 0.5 center, 1 end.
    """
    height, width = rgb.shape[-2:]
    top, left = round((height - side) * position), round((width - side) * position)
    return rgb[:, top : top + side, left : left + side]


class CorruptImage(NamedTuple):
    """An image that cannot be read."""

    name: str
    error: ImageError


class Jpeg(NamedTuple):
    """A JPEG that the device decodes: bytes, pixels, position of the crop along the long side."""

    length: int
    pixels: int
    position: float


class Item(NamedTuple):
    """One item of the data set.

    `rgb` is (3, side, side), uint8; None for a corrupt image without a replacement, or for a `jpeg`
    that is not decoded yet, whose file is `data`. `corrupt` could not be read before this one.
    """

    rgb: Tensor | None
    image: int
    corrupt: list[CorruptImage]
    jpeg: Jpeg | None = None
    data: bytes = b""


class Shipped(NamedTuple):
    """A batch before names and condition are looked up, by the index of each image in its set.

    `rgb` is (B, 3, side, side), uint8; empty without images.
    """

    rgb: Tensor
    indices: list[int]
    corrupt: list[CorruptImage]


@dataclass(eq=False)
class ImageDataset(Dataset[Item]):
    """Square crops of one split's images.

    The key of an item is (index, draw). The loader draws the second number for each delivery, and
    training derives the crop position from it. Items are thus the same in every process and after
    every resume. In training, crops are at a random position instead of the center, and a corrupt
    image is replaced by another one, so that an epoch keeps its number of steps.
    """

    images: ImageSet
    side: int
    training: bool = False
    resize: Resize = "crop"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        index, draw = key
        return self.at(index, draw / 2**32 if self.training else 0.5)

    def at(self, index: int, position: float) -> Item:
        """Return an image or its replacement.

        `position` is the position of the square crop along the long side.
        """
        corrupt: list[CorruptImage] = []
        candidate = index
        for _ in range(len(self) if self.training else 1):
            try:
                return self._item(candidate, position)._replace(corrupt=corrupt)
            except ImageError as error:
                corrupt.append(CorruptImage(self.images.name(candidate), error))
                candidate = self._after(candidate)
        return Item(None, index, corrupt)

    def _after(self, index: int) -> int:
        """Return the image that replaces a corrupt one, in a cycle through all images.

        It is about half of the set away: neighbors may be in the same damaged shard.
        """
        count = len(self)
        half = range(max(1, count // 2), count + 1)
        return (index + next(step for step in half if gcd(step, count) == 1)) % count

    def collate(self, items: list[Item]) -> Any:
        """Return the batch that a worker ships; here a `Shipped`."""
        squares = [item.rgb for item in items if item.rgb is not None]
        return Shipped(
            torch.stack(squares) if squares else torch.empty(0, dtype=torch.uint8),
            [item.image for item in items if item.rgb is not None],
            [corrupt for item in items for corrupt in item.corrupt],
        )

    def _item(self, index: int, position: float) -> Item:
        resized = resize(self.images.read(index, self.side), self.side, self.resize)
        return Item(crop_square(resized, self.side, position), index, [])
