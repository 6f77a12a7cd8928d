"""Encoded JPEGs, shipped by the loader's workers for decoding on the device."""

from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_colorize.data.dataset import CorruptImage, ImageDataset, Item, Jpeg
from lightning_colorize.data.decoding.jpeg import plain_jpeg_pixels


class JpegBatch(NamedTuple):
    """A batch of B images, some of which are decoded already.

    Attributes:
        data: (N,), uint8: the concatenated JPEG files.
        ends: End of each file in `data`.
        pixels: Number of pixels of each file.
        positions: Position of each file's square crop along its long side.
        indices: Index of each file in the image set.
        rows: Row of each file in the batch.
        rgb: (B - len(ends), 3, side, side), uint8: the decoded images, for the other rows in order.
        names: Names of all B images.
        corrupt: Images that could not be read.
    """

    data: Tensor
    ends: list[int]
    pixels: list[int]
    positions: list[float]
    indices: list[int]
    rows: list[int]
    rgb: Tensor
    names: list[str]
    corrupt: list[CorruptImage]

    def files(self) -> list[Tensor]:
        """Return the files as views of `data`: (n,), uint8."""
        starts = [0, *self.ends[:-1]]
        return [self.data[start:end] for start, end in zip(starts, self.ends, strict=False)]


class JpegDataset(ImageDataset):
    """Encoded files of JPEGs that every decoder decodes alike.

    The worker decodes all other images (PNG, CMYK, EXIF rotation, color profiles, truncated files)
    as `ImageDataset` does.
    """

    ships_pixels = False

    def collate(self, items: list[Item]) -> JpegBatch:
        """Return a batch of few tensors: each one takes a piece of shared memory."""
        found = [item for item in items if item.rgb is not None or item.jpeg is not None]
        jpegs = {row: item.jpeg for row, item in enumerate(found) if item.jpeg is not None}
        squares = [item.rgb for item in found if item.rgb is not None]
        # torch.frombuffer needs a writable buffer.
        data = bytearray(b"".join(jpeg.data for jpeg in jpegs.values()))
        return JpegBatch(
            torch.frombuffer(data, dtype=torch.uint8) if data else _NOTHING,
            list(accumulate(len(jpeg.data) for jpeg in jpegs.values())),
            [jpeg.pixels for jpeg in jpegs.values()],
            [jpeg.position for jpeg in jpegs.values()],
            [jpeg.image for jpeg in jpegs.values()],
            list(jpegs),
            torch.stack(squares) if squares else _NOTHING,
            [item.name for item in found],
            [corrupt for item in items for corrupt in item.corrupt],
        )

    def _item(self, index: int, position: float) -> Item:
        data = self.images.encoded(index)
        pixels = None if data is None else plain_jpeg_pixels(data)
        if data is None or pixels is None:
            return super()._item(index, position)
        return Item(None, self.images.name(index), [], Jpeg(data, pixels, position, index))


_NOTHING = torch.empty(0, dtype=torch.uint8)
