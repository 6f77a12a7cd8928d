"""A split's images as squares of uint8."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import RawBatch
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.images import ImageSet

Resize = Literal["crop", "stretch"]
"""How an image becomes a square: its short side is resized and a square cropped along the long
side, or both sides are resized and the aspect ratio is lost."""

LONGEST = 4
"""Of an image, at most this many times its short side is used along the long one.

Otherwise an image of one row and some thousand columns would be enlarged to gigabytes.
"""


def resize(rgb: Tensor, side: int, mode: Resize) -> Tensor:
    """Resize an image so that a square of `side` pixels can be cropped from it.

    Args:
        rgb: (..., 3, H, W), uint8.
        side: Pixels.
        mode: With "stretch" the whole image becomes the square.

    Returns:
        (..., 3, h, w), uint8, min(h, w) = side.
    """
    if mode == "crop":
        return resize_short_side(limit_length(rgb), side)
    stretched: Tensor = TF.resize(rgb, [side, side], antialias=True)
    return stretched


def resize_short_side(rgb: Tensor, side: int) -> Tensor:
    """Resize so that the short side has `side` pixels.

    Args:
        rgb: (..., 3, H, W), uint8.
        side: Pixels.

    Returns:
        (..., 3, h, w), uint8, min(h, w) = side.
    """
    height, width = rgb.shape[-2:]
    if min(height, width) == side:
        return rgb
    scale = side / min(height, width)
    size = [max(side, round(height * scale)), max(side, round(width * scale))]
    resized: Tensor = TF.resize(rgb, size, antialias=True)
    return resized


def limit_length(rgb: Tensor) -> Tensor:
    """Return the middle of an image that is more than `LONGEST` times as long as it is wide.

    To be called before resizing.

    Args:
        rgb: (..., 3, H, W).
    """
    height, width = rgb.shape[-2:]
    most = LONGEST * min(height, width)
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return rgb[..., top : top + most, left : left + most]


def crop_square(rgb: Tensor, side: int, position: float = 0.5) -> Tensor:
    """Cut a square out of the image.

    Args:
        rgb: (3, H, W) with H and W at least `side`.
        side: Pixels.
        position: Where along the free length: 0 start, 0.5 centre, 1 end.

    Returns:
        (3, side, side), a view.
    """
    height, width = rgb.shape[-2:]
    top, left = square_corner(height, width, side, position)
    return rgb[:, top : top + side, left : left + side]


def square_corner(height: int, width: int, side: int, position: float) -> tuple[int, int]:
    """Return the first row and column of the square that `crop_square` cuts."""
    return round((height - side) * position), round((width - side) * position)


class CorruptImage(NamedTuple):
    """An image that cannot be read.

    Attributes:
        name: Its name in its source.
        error: The reason.
    """

    name: str
    error: ImageError


class Jpeg(NamedTuple):
    """An image that is decoded elsewhere.

    Attributes:
        data: The file's bytes.
        pixels: How many it has.
        position: Where along its free length the square is to be cut.
        number: Which image of the set it is.
    """

    data: bytes
    pixels: int
    position: float
    number: int


class Item(NamedTuple):
    """One image as the data set gives it.

    Attributes:
        rgb: (3, side, side), uint8; None for a corrupt image that nothing replaces.
        name: The image's name.
        corrupt: What could not be read on the way.
        jpeg: In place of `rgb`, where it is not decoded yet.
    """

    rgb: Tensor | None
    name: str
    corrupt: list[CorruptImage]
    jpeg: Jpeg | None = None


def collate(items: list[Item]) -> tuple[RawBatch, list[CorruptImage]]:
    """Stack items to a batch and gather what was corrupt; the batch may be empty."""
    whole = [(item.rgb, item.name) for item in items if item.rgb is not None]
    rgb = torch.stack([rgb for rgb, _ in whole]) if whole else torch.empty(0, dtype=torch.uint8)
    return RawBatch(rgb, [name for _, name in whole]), [b for item in items for b in item.corrupt]


class ImageDataset(Dataset[Item]):
    """Squares of one split's images.

    An item is asked for as (index, draw): the draw is a number of the loader's for this delivery,
    from which training takes where along its long side the image is cut. Items are thus the same
    in every process and after every resume.

    Args:
        images: The split's images.
        side: Height and width of the squares.
        random_crop: Draw anew each time where the square is cut; else cut the centre.
        replace_corrupt: In place of a corrupt image give the next one, so that a training epoch
            keeps its number of steps.
        resize: How an image becomes a square.

    Attributes:
        ships_pixels: Whether batches are whole as they leave the loader's workers.
    """

    ships_pixels = True

    def __init__(
        self,
        images: ImageSet,
        side: int,
        random_crop: bool = False,
        replace_corrupt: bool = False,
        resize: Resize = "crop",
    ) -> None:
        self.images = images
        self.side = side
        self.resize = resize
        self.random_crop = random_crop
        self.replace_corrupt = replace_corrupt

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        index, draw = key
        return self.at(index, draw / 2**32 if self.random_crop else 0.5)

    def at(self, index: int, position: float) -> Item:
        """Return an image, or the one that replaces it.

        Args:
            index: Which; beyond the last one, the first follows.
            position: Where along its free length the square is cut.
        """
        corrupt: list[CorruptImage] = []
        tried = 0
        while tried < len(self):
            candidate = (index + tried) % len(self)
            try:
                item = self._item(candidate, position)
            except ImageError as error:
                corrupt.append(CorruptImage(self.images.name(candidate), error))
                if not self.replace_corrupt:
                    break
                tried += error.leap
                continue
            return item._replace(corrupt=corrupt)
        return Item(None, self.images.name(index % len(self)), corrupt)

    def collate(self, items: list[Item]) -> Any:
        """Return what is shipped for a batch."""
        return collate(items)

    def _item(self, index: int, position: float) -> Item:
        resized = resize(self.images.read(index, self.side), self.side, self.resize)
        return Item(crop_square(resized, self.side, position), self.images.name(index), [])
