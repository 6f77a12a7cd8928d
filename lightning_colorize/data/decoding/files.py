"""Any image file to uint8 RGB.

Pillow opens and decodes every file, by its content and not by its suffix; JPEGs at a half, a
quarter or an eighth of their size where that suffices. tifffile reads the TIFFs that Pillow does
not. Of several images in a file, the first of the largest that is not blank is read. libvips reads
no BMP, PNM, JPEG 2000 or HEIC, and decodes small JPEGs at half the speed.

To add a format that Pillow reads, add its suffixes to `IMAGE_SUFFIXES` and its name to `_FORMATS`.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_colorize.common.extras import require_extra
from lightning_colorize.common.text import printable
from lightning_colorize.data.decoding.colors import (
    NO_PILLOW_LIMIT,
    orientation,
    to_srgb,
    upright,
)
from lightning_colorize.data.decoding.tiff import MOST_BLANK, SIGNATURES, is_blank, open_tiff

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        *(".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".webp", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpx"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    }
)
"""Lower-case suffixes of image files.

HEIC is listed even without the extra `heif`, so that its files are reported and not ignored.
"""


class Limits(NamedTuple):
    """The largest images that are read: a few kilobytes could take minutes and gigabytes.

    Cameras reach 2e8 pixels. `density` is in pixels per byte of a large image's file; JPEG
    photographs have about 5.
    """

    pixels: int = 2**28
    density: float = 100


LIMITS = Limits()
"""The default of all commands."""

# Smaller images take little time and memory, whatever they contain. A blank A4 page at 600 dpi has
# 35 megapixels.
_LARGE = 4 * 10**7

# Formats of photographs. Other readers start programs (PostScript) or have no signature and accept
# text.
_FORMATS = (
    *("JPEG", "MPO", "PNG", "TIFF", "WEBP", "BMP", "DIB"),
    *("GIF", "PPM", "JPEG2000", "AVIF"),
)

_JPEG, _END = b"\xff\xd8\xff", b"\xff\xd9"
_SCAN, _MOST_SCANS = b"\xff\xda\0", 200  # its marker; progressive JPEGs have about 10

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")


class ImageError(Exception):
    """A file cannot be read as an image.

    `reason` is short and on one line.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(printable(f"{path}: {reason}"))
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[Path, str]]:
        # When a worker process sends the error, the default would pass the message to __init__.
        return type(self), (self.path, self.reason)


def read_image(path: Path, min_side: int | None = None) -> Tensor:
    """Read an image file of any kind.

    EXIF rotation is applied; 16-bit and float images are scaled to 8 bits; transparency is
    composited over white; embedded profiles are converted to sRGB; of animations and multi-page
    files, the first of the largest images that is not blank is read. Thread-safe; the decoders
    release the GIL.

    A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, if its short side stays at least
    `min_side`. The result is not resized to it.

    Returns:
        (3, H, W), uint8, sRGB. Not necessarily contiguous: decoders interleave the channels.

    Raises:
        ImageError: If the file cannot be read, is not an image, is truncated, or exceeds `LIMITS`.
    """
    return decode_image(read_bytes(path), path, min_side)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; an ImageError if it cannot be read."""
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # a folder is an error below
            raise ImageError(path, "not a regular file")  # a device or a pipe may never end
        return path.read_bytes()
    except OSError as error:
        raise ImageError(path, _reason(error)) from error


def decode_image(data: bytes, path: Path, min_side: int | None = None) -> Tensor:
    """Decode the content of an image file as `read_image` does: (3, H, W), uint8, sRGB.

    The path is for messages.
    """
    with opened(data, path) as image:
        if min_side is not None:
            image.draft(image.mode, (min_side, min_side))  # only a JPEG has it
        return from_pillow(image)


def from_pillow(image: Image.Image) -> Tensor:
    """Convert an image of any mode as `read_image` does: upright, (3, H, W), uint8, sRGB."""
    # Some formats store EXIF behind the pixels, and Pillow rotates a TIFF while it loads.
    image.load()
    return upright(pil_to_tensor(to_srgb(image)), orientation(image))


class Header(NamedTuple):
    """The header of an image file; height and width are upright, `mode` is Pillow's."""

    height: int
    width: int
    mode: str
    has_profile: bool


def read_header(data: bytes, path: Path) -> Header:
    """Read the header from an image file's bytes. Damage behind it raises no ImageError."""
    with opened(data, path) as image:
        width, height = image.size
        # Pillow reports the upright size of a TIFF, if the tag is its own.
        is_upright = ExifTags.Base.Orientation in getattr(image, "tag_v2", ())
        if not is_upright and orientation(image) >= 5:
            width, height = height, width
        return Header(height, width, image.mode, bool(image.info.get("icc_profile")))


def is_damaged(data: bytes) -> bool:
    """Return whether libjpeg warns of damaged data, such as a grey area, in a readable JPEG."""
    import simplejpeg

    if not data.startswith(_JPEG):
        return False
    try:
        # An eighth of the size.
        simplejpeg.decode_jpeg(_with_end(data), "GRAY", min_height=1, min_width=1)
    except ValueError:
        return True
    return False


def _with_end(data: bytes) -> bytes:
    """Return a JPEG with an end marker behind its last scan."""
    if data.endswith(_END):  # most; the search takes milliseconds
        return data
    return data if _END in data[data.rfind(_SCAN[:2]) :] else data.rstrip(b"\0") + _END


@contextmanager
def opened(data: bytes, path: Path, limits: Limits = LIMITS) -> Iterator[Image.Image]:
    """Read the header of an image file; the pixels are loaded later.

    Any error of a reader within the context becomes an ImageError with the path.
    """
    try:
        with NO_PILLOW_LIMIT, _open(data, limits) as image:
            yield image
    except Exception as error:
        # Readers raise nearly any class when bytes are damaged: struct.error, SyntaxError, ...
        raise ImageError(path, _reason(error)) from error


def _open(data: bytes, limits: Limits) -> Image.Image:
    if not data:
        raise ValueError("empty file")
    if data.startswith(SIGNATURES):
        return open_tiff(data, partial(_require_few, data=data, limits=limits))
    try:
        image: Image.Image = Image.open(BytesIO(data), formats=_enabled_formats())
    except UnidentifiedImageError:
        if data[4:8] != b"ftyp" or data[8:12] not in _HEIC_BRANDS:
            raise ValueError("not an image") from None
        image = _open_heic(data)
    _require_few(image.width * image.height, data, limits)
    if image.format in ("JPEG", "MPO"):
        # Each scan of a JPEG costs time for all pixels, even if it is empty.
        if data.count(_SCAN) > _MOST_SCANS:
            raise ValueError(f"more than {_MOST_SCANS} scans, which take minutes: save it as PNG")
        if (whole := _with_end(data)) != data and not is_damaged(data):
            image = Image.open(BytesIO(whole), formats=("JPEG",))
    _choose_frame(image)
    return image


def _choose_frame(image: Image.Image) -> None:
    """Go to the first frame of an animation that is not blank; `notes` of its `info` name it."""
    start = chosen = image.tell()
    frames = 1
    with suppress(Exception):  # a later frame may be damaged
        # The others of an MPO are previews and gain maps of the same photograph.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        for frame in range(start, min(frames, MOST_BLANK)) if frames > 1 else ():
            image.seek(frame)
            if not is_blank(image):
                chosen = frame
                break
    if frames > 1:
        image.seek(chosen)
        note = f"image {chosen + 1} of {frames}: those before are blank"
        image.info["notes"] = [note if chosen > start else "the first of several images"]


@cache
def _enabled_formats() -> tuple[str, ...]:
    """Return the formats that this build of Pillow reads."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _open_heic(data: bytes) -> Image.Image:
    require_extra("heif", "HEIC", "pillow_heif")
    import pillow_heif  # slow

    pillow_heif.register_heif_opener()
    return Image.open(BytesIO(data), formats=("HEIF",))


def _require_few(pixels: int, data: bytes, limits: Limits) -> None:
    """Reject an image by its header, before its pixels take memory and time."""
    if pixels > limits.pixels:
        raise ValueError(
            f"{pixels:,} pixels, more than {limits.pixels:,}; colorize --max-pixels accepts it"
        )
    if pixels > max(_LARGE, limits.density * len(data)):
        raise ValueError(
            f"{pixels:,} pixels in {len(data):,} bytes, more than {limits.density} for each: "
            "save it uncompressed; colorize --max-density accepts it"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    if "truncated" in text.lower():  # Pillow raises an OSError or a SyntaxError, as for all damage
        return "truncated: the file is incomplete, copy it again"
    if isinstance(error, OSError | ValueError) and text:
        return text[:120]
    return f"damaged ({type(error).__name__}: {text[:100]})"
