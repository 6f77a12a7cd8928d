"""JPEGs decoded on the device by torchvision: nvJPEG on a GPU, libjpeg on a CPU."""

import io
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.data.dataset import (
    CorruptImage,
    ImageDataset,
    Item,
    Jpeg,
    Shipped,
    crop_square,
    resize,
)
from lightning_colorize.data.decoding.colors import orientation, srgb_transform
from lightning_colorize.data.decoding.files import ImageError, opened
from lightning_colorize.data.device.transfer import prefetched

# Pixels decoded at once. A batch of 12 megapixel images would fill gigabytes.
_AT_ONCE = 2**26

# Some cameras pad their files; at most this many bytes are searched for the end marker.
_END, _MAX_PADDING = b"\xff\xd9", 4096

_NOTHING = torch.empty(0, dtype=torch.uint8)


class JpegBatch(NamedTuple):
    """A batch of B images, some of which are decoded already.

    `data` are the concatenated JPEG files, (N,), uint8, and `jpegs` the image of each, by its row
    in the batch. `rgb` are the decoded images of the other rows in order,
    (B - len(jpegs), 3, side, side), uint8. `indices` has the index of all B images in the set.
    """

    data: Tensor
    jpegs: dict[int, Jpeg]
    rgb: Tensor
    indices: list[int]
    corrupt: list[CorruptImage]


class JpegDataset(ImageDataset):
    """Encoded files of JPEGs that every decoder decodes alike.

    The worker decodes all other images (PNG, CMYK, EXIF rotation, color profiles, truncated files)
    as `ImageDataset` does.
    """

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
            [item.image for item in found],
            [corrupt for item in items for corrupt in item.corrupt],
        )

    def _item(self, index: int, position: float) -> Item:
        data = self.images.encoded(index)
        pixels = None if data is None else plain_jpeg_pixels(data)
        if data is None or pixels is None:
            return super()._item(index, position)
        return Item(None, index, [], Jpeg(len(data), pixels, position), data)


def plain_jpeg_pixels(data: bytes) -> int | None:
    """Return the number of pixels of a JPEG that every decoder reads as `read_image` does.

    None for other formats, CMYK, EXIF rotation, color spaces other than sRGB, truncated and
    unreadable files.
    """
    if not data[-_MAX_PADDING:].rstrip(b"\0\r\n").endswith(_END):
        return None
    try:
        with opened(data, Path()) as image:
            profile = image.info.get("icc_profile")
            # RGB without conversion to YCbCr, which few decoders support.
            stored_as_rgb = image.mode == "RGB" and image.info.get("adobe_transform") == 0
            is_plain = (
                image.format == "JPEG"
                and image.mode in ("L", "RGB")
                and orientation(image) == 1
                and not stored_as_rgb
                and not (profile and srgb_transform(profile, image.mode))
            )
            return image.width * image.height if is_plain else None
    except ImageError:  # `read_image` reports the reason
        return None


@cache
def require_decoder(device: torch.device) -> None:
    """Raise a UsageError if torchvision cannot decode JPEGs on a device."""
    image = io.BytesIO()
    Image.new("RGB", (16, 16)).save(image, "JPEG")
    try:
        _decode([torch.frombuffer(bytearray(image.getvalue()), dtype=torch.uint8)], device)
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"--data.decode: device\naccepted: cpu: torchvision {version('torchvision')} cannot "
            f"decode JPEGs on {device} ({first_line(error)})"
        ) from error


def _decode(files: list[Tensor], device: torch.device) -> list[Tensor]:
    """Decode files, (n,), uint8, to (3, H, W), uint8; a RuntimeError if one is damaged."""
    from torchvision.io import decode_jpeg  # deprecated since torchvision 0.29

    decoded: list[Tensor] = decode_jpeg(files, mode="RGB", device=device)
    return decoded


class DeviceDecoder:
    """Decodes the batches of a `JpegDataset` and crops the same squares as the workers would.

    Pixels differ from the workers' by some 8-bit steps. A GPU has another decoder, which decodes
    large images at full resolution; the CPU decodes them at 1/2, 1/4 or 1/8. The data set reads the
    files that the device cannot decode, and replaces corrupt ones.
    """

    def __init__(self, device: torch.device, dataset: ImageDataset) -> None:
        self.device = device
        self.dataset = dataset

    def batches(self, shipped: Iterator[JpegBatch]) -> Iterator[Shipped]:
        """Decode in a thread and prefetch one batch."""
        return prefetched(map(self, shipped), self.device)

    def __call__(self, batch: JpegBatch) -> Shipped:
        """Return the images of a batch, and those that could not be read."""
        corrupt, indices = list(batch.corrupt), list(batch.indices)
        others = [row for row in range(len(indices)) if row not in batch.jpegs]
        squares = dict(zip(others, batch.rgb.to(self.device), strict=True))
        lengths = [jpeg.length for jpeg in batch.jpegs.values()]
        files = dict(zip(batch.jpegs, torch.split(batch.data, lengths), strict=True))
        for rows in _pieces(batch.jpegs):
            decoded = self._decoded([files[row] for row in rows])
            whole = {}
            for row, image in zip(rows, decoded, strict=True):
                if image is not None:
                    whole[row] = image
                    continue
                item = self.dataset.at(indices[row], batch.jpegs[row].position)
                corrupt += item.corrupt
                if item.rgb is not None:
                    squares[row], indices[row] = item.rgb.to(self.device), item.image
            for row, resized in self._resized(whole):
                squares[row] = crop_square(resized, self.dataset.side, batch.jpegs[row].position)
        left = sorted(squares)
        rgb = torch.stack([squares[row] for row in left]) if left else batch.rgb
        return Shipped(rgb, [indices[row] for row in left], corrupt)

    def _decoded(self, files: list[Tensor]) -> list[Tensor | None]:
        """Decode together, or one by one if that fails: one corrupt file fails them all."""
        try:
            return [*_decode(files, self.device)]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return [None] if len(files) == 1 else [self._decoded([file])[0] for file in files]

    def _resized(self, images: dict[int, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Resize the images; images of the same shape are one batch."""
        by_shape = defaultdict(list)
        for number, image in images.items():
            by_shape[image.shape].append(number)
        for numbers in by_shape.values():
            stacked = torch.stack([images[number] for number in numbers])
            squares = resize(stacked, self.dataset.side, self.dataset.resize)
            yield from zip(numbers, squares, strict=True)


def _pieces(jpegs: dict[int, Jpeg]) -> Iterator[list[int]]:
    """Yield the rows of at most `_AT_ONCE` pixels, or of one image."""
    rows: list[int] = []
    taken = 0
    for row, jpeg in jpegs.items():
        if rows and taken + jpeg.pixels > _AT_ONCE:
            yield rows
            rows, taken = [], 0
        rows.append(row)
        taken += jpeg.pixels
    if rows:
        yield rows
