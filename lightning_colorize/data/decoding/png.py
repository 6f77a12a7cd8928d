"""PNG features that Pillow lacks: it ignores truncated pixels, and reduces color to 8 bits."""

import struct
import zlib

import numpy as np
from PIL import Image

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type

# Adam7: first column, first row, and the steps from column to column and row to row.
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def ends_early(image: Image.Image, data: bytes) -> bool:
    """Return whether the compressed pixels of a PNG end before its last row.

    Pillow leaves the missing rows black: to `load`, a complete zlib stream is a complete image, and
    `verify` compares checksums only. The pixels are counted only if the last row is empty or the
    image is interlaced.

    Args:
        image: The image, loaded without an error.
        data: The content of the file.
    """
    width, height = image.size
    last = np.asarray(image.crop((0, height - 1, width, height)))
    if last.any() and not image.info.get("interlace"):
        return False
    size, pixels, start = 0, [], 8
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        content = data[start + 8 : start + 8 + length]
        if kind == b"IHDR":
            size = _size(content)
        elif kind == b"IDAT":
            pixels.append(content)
        start += 12 + length
    try:
        return len(zlib.decompressobj().decompress(b"".join(pixels), size)) < size
    except zlib.error:  # a wrong checksum behind the pixels
        return False


def _size(header: bytes) -> int:
    """Return the bytes of all rows, each with its filter's byte."""
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    size = 0
    for x, y, columns, lines in _PASSES if interlaced else ((0, 0, 1, 1),):
        across, down = -(-(width - x) // columns), -(-(height - y) // lines)
        if across:
            size += down * (1 - (-across * depth * _CHANNELS[color] // 8))
    return size


def sixteen_bits(image: Image.Image, again: Image.Image) -> np.ndarray:
    """Return the values of a PNG of 16 bits, (H, W, channels), uint16, as stored.

    torchvision keeps 16 bits too, but libpng's errors crash its process.

    Args:
        image: The image, whose 8 bits are the upper bytes.
        again: The same image, not loaded: read as little-endian, its 8 bits are the lower bytes.
    """
    (tile,) = again.tile  # type: ignore[attr-defined]
    if tile.args == "LA;16B":  # four bytes a pixel
        again.tile = [tile._replace(args="RGBA")]  # type: ignore[attr-defined]
        return np.asarray(again).view(">u2").astype(np.uint16)
    again.tile = [tile._replace(args=tile.args.replace("16B", "16L"))]  # type: ignore[attr-defined]
    values: np.ndarray = np.asarray(image) * np.uint16(256) + np.asarray(again)
    return values
