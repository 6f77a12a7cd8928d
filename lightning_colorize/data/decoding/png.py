"""PNGs whose pixels end early or are damaged.

Pillow leaves the missing rows black without a word. torchvision, which keeps 16 bits, can crash the
process where libpng finds an error.
"""

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
_LAST_FILTER = 4


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
        for kind, content, _ in _chunks(data):
            if kind == b"IHDR":
                missing = sum(count * length for count, length in _rows(content))
            while kind == b"IDAT" and content:
                missing -= len(inflate.decompress(content, _PIECE))
                content = inflate.unconsumed_tail
        return missing > len(inflate.flush())
    except zlib.error:  # a wrong checksum behind the pixels
        return False


def undamaged(data: bytes) -> bytes | None:
    """Return a PNG of the header and the pixels of a file, if libpng finds no error in it.

    Other chunks, which may be wrong as well, are left out.

    Args:
        data: A file that Pillow has read.

    Returns:
        The file; None if a checksum is wrong, pixels are missing, or a row has an unknown filter.
    """
    kept, filters, end, position = [data[:8]], np.empty(0, np.int64), 0, 0
    inflate = zlib.decompressobj()
    try:
        for kind, content, checksum in _chunks(data):
            if kind == b"IHDR":
                filters, end = _places_of_filters(content)
            elif kind not in (b"IDAT", b"IEND"):
                continue
            if zlib.crc32(kind + content) != checksum:
                return None
            kept.append(struct.pack(">I4s", len(content), kind) + content)
            kept.append(struct.pack(">I", checksum))
            while kind == b"IDAT" and content:
                values = np.frombuffer(inflate.decompress(content, _PIECE), np.uint8)
                content = inflate.unconsumed_tail
                first, last = np.searchsorted(filters, (position, position + len(values)))
                if (values[filters[first:last] - position] > _LAST_FILTER).any():
                    return None
                position += len(values)
    except zlib.error:
        return None
    return b"".join(kept) if inflate.eof and position == end else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int | None]]:
    """Yield kind, content and checksum of each chunk; None for a checksum that is missing."""
    start = 8
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        checksum = struct.unpack_from(">I", data, end)[0] if end + 4 <= len(data) else None
        yield kind, data[start + 8 : end], checksum
        start = end + 4


def _rows(header: bytes) -> list[tuple[int, int]]:
    """Return the number of rows, and the bytes of each, of every pass.

    Each row begins with the number of its filter.
    """
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    rows = []
    for x, y, columns, lines in _PASSES if interlaced else ((0, 0, 1, 1),):
        across, down = -(-(width - x) // columns), -(-(height - y) // lines)
        if across and down:
            rows.append((down, 1 - (-across * depth * _CHANNELS[color] // 8)))
    return rows


def _places_of_filters(header: bytes) -> tuple[np.ndarray, int]:
    """Return where the filters of all rows are in the bytes of the pixels, and their number."""
    places, end = [], 0
    for count, length in _rows(header):
        places.append(end + length * np.arange(count))
        end += length * count
    return np.concatenate(places), end
