"""Any image file to uint8 RGB.

A file's content says what it is, never its suffix. Pillow opens everything; a plain JPEG is then
decoded by torchvision, one that is at least twice as large as needed by Pillow with DCT scaling
(a half, a quarter or an eighth of the resolution comes out of the decoder), and all else by Pillow.

That was measured, with the resizing to a short side of 256 that follows, on one core, on JPEGs of
quality 90 (`python benchmarks/decode.py`). Times as fast as Pillow's
`open().convert("RGB").resize()`:

| image     | torchvision | DCT scaling | read_image |
|-------------|-------------|-------------|--------------|
| 500 x 375   | 2.1         | 1.4         | 2.1          |
| 1024 x 768  | 2.0         | 2.1         | 2.1          |
| 1600 x 1200 | 2.0         | 2.7         | 2.7          |
| 4000 x 3000 | 2.1         | 4.9         | 4.9          |
"""

import logging
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from lightning_colorize.data.decoding.jpeg import decode_jpegs, is_srgb, orientation
from lightning_colorize.data.decoding.pillow_modes import scale_to_eight_bits, to_srgb

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        *(".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".webp", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpx"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    }
)
"""Lower-case suffixes of the files that a folder scan takes as candidates.

HEIC is among them although nothing here reads it, so that such files are named as unreadable
instead of missing in silence.
"""

MAX_PIXELS = 2**28
"""More pixels than this are taken for a decompression bomb; cameras reach 2e8."""

# Pillow refuses twice its limit. Only formats of photographs are tried: some of its other readers
# start programs (PostScript) or know no signature and take text for an image.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
Image.init()
_FORMATS = tuple(
    name
    for name in (
        "JPEG",
        "MPO",
        "PNG",
        "TIFF",
        "WEBP",
        "BMP",
        "DIB",
        "GIF",
        "PPM",
        "JPEG2000",
        "AVIF",
    )
    if name in Image.OPEN
)

# What the libraries would print comes without the file's name; what matters is raised.
warnings.filterwarnings("ignore", module=r"PIL\.|torchvision\.io")
for _library in ("PIL", "tifffile"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)

_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")


class ImageError(Exception):
    """A file that cannot be read as an image.

    Attributes:
        path: The file.
        reason: What is wrong, in a few words on one line.
        leap: How many numbers further the next image is that may be whole.
    """

    leap = 1

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[Path, str]]:
        # The default would hand the message to __init__ when a worker process sends the error.
        return type(self), (self.path, self.reason)


def read_image(path: Path, min_side: int | None = None) -> Tensor:
    """Read an image file of any kind.

    Upright as its EXIF orientation says; 16-bit and float images scaled to 8 bits; transparent
    parts over white; colours in sRGB, converted where an embedded profile says otherwise; the
    first image of an animation or of several pages. Threads may call it at the same time: the
    decoders run outside Python's lock.

    Args:
        path: The file.
        min_side: A JPEG may be decoded smaller, by 2, 4 or 8, as long as its short side does not
            fall below this. The result is not resized to it.

    Returns:
        (3, H, W), uint8, sRGB. Not necessarily contiguous: decoders give pixels, not planes.

    Raises:
        ImageError: If the file cannot be read, is not an image, is damaged (truncated JPEGs
            included, which viewers show half grey), or has more than `MAX_PIXELS`.
    """
    return decode_image(read_bytes(path), path, min_side)


def read_bytes(path: Path) -> bytes:
    """Return what is in a file.

    Raises:
        ImageError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(path, _reason(error)) from error


def decode_image(data: bytes, path: Path, min_side: int | None = None) -> Tensor:
    """Decode the bytes of an image file of any kind, as `read_image` does.

    Args:
        data: The bytes.
        path: Where they come from, for the error.
        min_side: As in `read_image`.

    Returns:
        (3, H, W), uint8, sRGB.

    Raises:
        ImageError: If they are no image, or a damaged one.
    """
    try:
        return _decode(data, min_side)
    except Exception as error:
        # Readers raise nearly any class when bytes are damaged: struct.error, SyntaxError, ...
        raise ImageError(path, _reason(error)) from error


class Header(NamedTuple):
    """What an image file says of itself before its pixels.

    Attributes:
        height: Pixels of the upright image.
        width: Likewise.
        mode: Pillow's name of what a pixel is: `RGB`, `L`, `CMYK`, ...
        has_profile: Whether an ICC profile says which colours are meant.
    """

    height: int
    width: int
    mode: str
    has_profile: bool


def read_header(file: BinaryIO, path: Path) -> Header:
    """Return what an image file says of itself.

    Args:
        file: The open file, or its bytes.
        path: Where they come from, for the error.

    Raises:
        ImageError: If the header cannot be read. Damage further on is not noticed.
    """
    try:
        with _open(file) as image:
            width, height = image.size
            # Pillow gives a TIFF's size upright already.
            if image.format != "TIFF" and orientation(image) >= 5:
                width, height = height, width
            return Header(height, width, image.mode, bool(image.info.get("icc_profile")))
    except Exception as error:
        raise ImageError(path, _reason(error)) from error


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of the upright image, from the file's header alone.

    Raises:
        ImageError: If the header cannot be read. Damage further on is not noticed.
    """
    try:
        with path.open("rb") as file:
            return read_header(file, path)[:2]
    except OSError as error:
        raise ImageError(path, _reason(error)) from error


def _decode(data: bytes, min_side: int | None) -> Tensor:
    with _open(BytesIO(data)) as image:
        size = image.size
        if image.format in ("JPEG", "MPO"):
            if min_side is not None:
                image.draft(image.mode, (min_side, min_side))
            if image.size == size and is_srgb(image):
                encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
                with suppress(RuntimeError):  # Pillow then reads it, or says what is wrong.
                    return _upright(decode_jpegs([encoded])[0], orientation(image))
        # Some formats keep their EXIF behind the pixels, and a TIFF is turned while it loads.
        image.load()
        turn = orientation(image)
        pixels = torch.from_numpy(np.array(to_srgb(image))).permute(2, 0, 1)
        return _upright(pixels, turn)


def _open(file: BinaryIO) -> Image.Image:
    if not file.read(1):
        raise ValueError("empty file")
    file.seek(0)
    try:
        image = Image.open(file, formats=_FORMATS)
        return _open_unusual_tiff(file) if _pillow_misreads(image) else image
    except UnidentifiedImageError:
        file.seek(0)
        head = file.read(12)
        if head.startswith(_TIFF_SIGNATURES):
            return _open_unusual_tiff(file)
        if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
            raise ValueError("HEIC is not supported, convert it to JPEG") from None
        raise ValueError("not an image") from None


def _pillow_misreads(image: Image.Image) -> bool:
    """Say whether it is one of the TIFFs that Pillow opens but gets wrong without a word."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    tags = image.tag_v2
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0]
    planes_apart = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
    unsigned = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == 1
    return (bits > 8 and planes_apart) or (bits == 32 and unsigned)


def _open_unusual_tiff(file: BinaryIO) -> Image.Image:
    """Read by tifffile what Pillow has no mode for: float RGB, 64 bits, planes of 16 bits, ..."""
    import tifffile  # takes longer to import than all else here, and is seldom needed

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        values = page.asarray()
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        turn = page.tags.get("Orientation")
    image = Image.fromarray(scale_to_eight_bits(values))
    if turn is not None:
        image.getexif()[ExifTags.Base.Orientation] = turn.value
    return image


def _upright(pixels: Tensor, turn: int) -> Tensor:
    """Turn (3, H, W) as EXIF says: the value tells where the stored first row and column belong."""
    if turn >= 5:
        pixels = pixels.transpose(1, 2)
    rows = turn in (3, 4, 7, 8)
    columns = turn in (2, 3, 6, 7)
    axes = [axis for axis, mirrored in ((1, rows), (2, columns)) if mirrored]
    return pixels.flip(axes) if axes else pixels


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels"
    text = " ".join(str(error).split())
    if "truncated" in text.lower():
        return "truncated"
    if isinstance(error, OSError | ValueError) and text:
        return text[:120]
    return f"damaged ({type(error).__name__}: {text[:100]})"
