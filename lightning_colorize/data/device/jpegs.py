"""What the loader's workers ship where the device decodes: files as they are."""

from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_colorize.data.dataset import CorruptImage, ImageDataset, Item, Jpeg
from lightning_colorize.data.decoding.jpeg import plain_jpeg_pixels


class JpegBatch(NamedTuple):
    """A batch of B images, of which some are decoded already.

    Attributes:
        data: (N,), uint8: the files of the others, one after the other.
        ends: Where in `data` each of them ends.
        pixels: How many pixels each of them has.
        positions: Where along its free length each of them is to be cut.
        numbers: Which images of the set they are.
        places: The place of each of them in the batch.
        rgb: (B - len(ends), 3, side, side), uint8: those decoded, for the other places in turn.
        names: Of all B.
        corrupt: What could not be read.
    """

    data: Tensor
    ends: list[int]
    pixels: list[int]
    positions: list[float]
    numbers: list[int]
    places: list[int]
    rgb: Tensor
    names: list[str]
    corrupt: list[CorruptImage]

    def files(self) -> list[Tensor]:
        """Return the files: (n,), uint8, views of `data`."""
        starts = [0, *self.ends[:-1]]
        return [self.data[start:end] for start, end in zip(starts, self.ends, strict=False)]


class JpegDataset(ImageDataset):
    """Images as their files have them, where that is a JPEG that any decoder decodes alike.

    All others (PNG, CMYK, turned by EXIF, with a colour profile of their own, cut short) are read
    and cut as by `ImageDataset`, in the worker.
    """

    ships_pixels = False

    def collate(self, items: list[Item]) -> JpegBatch:
        """Return what is shipped: few tensors, each of which is a piece of shared memory."""
        found = [item for item in items if item.rgb is not None or item.jpeg is not None]
        jpegs = {place: item.jpeg for place, item in enumerate(found) if item.jpeg is not None}
        squares = [item.rgb for item in found if item.rgb is not None]
        # A copy that may be written to, which is what torch wants.
        data = bytearray(b"".join(jpeg.data for jpeg in jpegs.values()))
        return JpegBatch(
            torch.frombuffer(data, dtype=torch.uint8) if data else _NOTHING,
            list(accumulate(len(jpeg.data) for jpeg in jpegs.values())),
            [jpeg.pixels for jpeg in jpegs.values()],
            [jpeg.position for jpeg in jpegs.values()],
            [jpeg.number for jpeg in jpegs.values()],
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
