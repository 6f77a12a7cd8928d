"""PNGs whose pixels end early: Pillow leaves the missing rows black without a word."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type

# Adam7: first column, first row, and the steps from column to column and row to row.
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)

_PIECE = 2**22


def ends_early(image: Image.Image, data: bytes) -> bool:
    """Return whether the compressed pixels of a PNG end before its last row.

    They are counted only if the last row is empty or the image is interlaced.

    Args:
        image: The image, of which Pillow reports no error.
        data: The file.
    """
    width, height = image.size
    # The last pixel is a fast test that most images pass.
    if not image.info.get("interlace") and (
        np.any(np.asarray(image.getpixel((width - 1, height - 1))))
        or np.asarray(image.crop((0, height - 1, width, height))).any()
    ):
        return False
    missing = 0
    inflate = zlib.decompressobj()
    try:
        for kind, content in _chunks(data):
            if kind == b"IHDR":
                missing = _bytes_of_pixels(content)
            while kind == b"IDAT" and content:
                missing -= len(inflate.decompress(content, _PIECE))
                content = inflate.unconsumed_tail
        return missing > len(inflate.flush())
    except zlib.error:  # a wrong checksum behind the pixels
        return False


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 8
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        yield kind, data[start + 8 : start + 8 + length]
        start += 12 + length


def _bytes_of_pixels(header: bytes) -> int:
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    count = 0
    for x, y, columns, rows in _PASSES if interlaced else ((0, 0, 1, 1),):
        across, down = -(-(width - x) // columns), -(-(height - y) // rows)
        if across and down:
            # Each row begins with the number of its filter.
            count += down * (1 - (-across * depth * _CHANNELS[color] // 8))
    return count
