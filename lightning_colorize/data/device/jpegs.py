"""Encoded JPEGs, shipped by the loader's workers for decoding on the device."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_colorize.data.dataset import CorruptImage, ImageDataset, Item, Jpeg
from lightning_colorize.data.decoding.jpeg import plain_jpeg_pixels


class JpegBatch(NamedTuple):
    """A batch of B images, some of which are decoded already.

    Attributes:
        data: (N,), uint8: the concatenated JPEG files.
        jpegs: The image of each file, by its row in the batch.
        rgb: (B - len(jpegs), 3, side, side), uint8: the decoded images, for the other rows in
            order.
        names: Names of all B images.
        corrupt: Images that could not be read.
    """

    data: Tensor
    jpegs: dict[int, Jpeg]
    rgb: Tensor
    names: list[str]
    corrupt: list[CorruptImage]

    def files(self) -> list[Tensor]:
        """Return the files as views of `data`: (n,), uint8."""
        return list(torch.split(self.data, [jpeg.length for jpeg in self.jpegs.values()]))


class JpegDataset(ImageDataset):
    """Encoded files of JPEGs that every decoder decodes alike.

    The worker decodes all other images (PNG, CMYK, EXIF rotation, color profiles, truncated files)
    as `ImageDataset` does.
    """

    ships_pixels = False

    def collate(self, items: list[Item]) -> JpegBatch:
        """Return a batch of few tensors: each one takes a piece of shared memory."""
        found = [item for item in items if item.rgb is not None or item.jpeg is not None]
        squares = [item.rgb for item in found if item.rgb is not None]
        # torch.frombuffer needs a writable buffer.
        data = bytearray(b"".join(item.data for item in found))
        return JpegBatch(
            torch.frombuffer(data, dtype=torch.uint8) if data else _NOTHING,
            {row: item.jpeg for row, item in enumerate(found) if item.jpeg is not None},
            torch.stack(squares) if squares else _NOTHING,
            [item.name for item in found],
            [corrupt for item in items for corrupt in item.corrupt],
        )

    def _item(self, index: int, position: float) -> Item:
        data = self.images.encoded(index)
        pixels = None if data is None else plain_jpeg_pixels(data)
        if data is None or pixels is None:
            return super()._item(index, position)
        jpeg = Jpeg(len(data), pixels, position, index)
        return Item(None, self.images.name(index), [], jpeg, data)


_NOTHING = torch.empty(0, dtype=torch.uint8)
