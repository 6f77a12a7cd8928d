"""TIFFs: the directory with the photograph, and by tifffile the kinds that Pillow misreads."""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from lightning_colorize.data.decoding.ranges import scale_planes, to_bytes

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_Tags = TiffImagePlugin.ImageFileDirectory_v2
_DIRECTORIES = 1000  # that are read
MOST_BLANK = 32
"""The largest number of images at the start of a file that are skipped if they are blank."""

_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _SUBDIRECTORIES, _DNG_VERSION = 254, 255, 330, 50706
_WIDTH, _LENGTH, _EXTRA, _PROFILE, _XMP = 256, 257, 338, 34675, 700
_PHOTOMETRIC = TiffImagePlugin.PHOTOMETRIC_INTERPRETATION
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _MASK, _RAW = 0, 1, 2, 4, (32803, 34892)


def open_tiff(data: bytes, require_few: Callable[[int], None]) -> Image.Image:
    """Open the photograph of a TIFF: the first of the largest full-resolution images not blank.

    `require_few` checks the number of pixels. `data` of the image's `info` is the file with this
    image as its first, `notes` say what was chosen.
    """
    found = [*_directories(data)]
    if not found:
        raise ValueError("a TIFF without images")
    raw = data[8:11] == b"CR\2" or _DNG_VERSION in found[0][1]  # Canon's has no tag
    if raw or any(tags.get(_PHOTOMETRIC) in _RAW for _, tags in found):
        raise ValueError("raw data of a camera: develop it, then save it as TIFF or JPEG")
    sizes = [tags.get(_WIDTH, 0) * tags.get(_LENGTH, 0) for _, tags in found]
    full = [row for row, (_, tags) in enumerate(found) if not _is_reduced(tags)]
    candidates = full or [*range(len(found))]
    largest = max(sizes[row] for row in candidates)
    require_few(largest)
    rows = [row for row in candidates if sizes[row] == largest][:MOST_BLANK]
    for row in [*rows, rows[0]]:
        image = _open(_with_first(data, found[row][0]), found[row][1])
        if len(rows) == 1 or not is_blank(image):
            break
    if row:
        image.info["notes"].insert(
            0, f"image {row + 1} of {len(found)}: the largest that is not blank"
        )
    elif len(full) > 1:
        image.info["notes"].insert(0, "the first of several images")
    return image


def is_blank(image: Image.Image) -> bool:
    """Return whether an image has one color only, or is transparent."""
    if image.has_transparency_data or image.mode == "P":
        image = image.convert("RGBA")
    ranges = np.reshape(image.getextrema(), (-1, 2))
    return bool((image.mode == "RGBA" and ranges[3, 1] == 0) or (np.ptp(ranges, axis=1) <= 2).all())


def _directories(data: bytes) -> Iterator[tuple[int, _Tags]]:
    """Yield the place and the tags of each directory, with those of subdirectories behind it."""
    file, seen = BytesIO(data), {0}
    # Pillow reads no pointers to subdirectories of a BigTIFF, nor a big-endian header of one.
    header = b"II+\0" + data[4:16] if _is_big(data) else data[:8]
    waiting = [_Tags(header, data[:2]).next]
    if _is_big(data):
        import tifffile

        with tifffile.TiffFile(BytesIO(data)) as tiff:
            waiting = [at for page in tiff.pages for at in (page.offset, *(page.subifds or ()))]
    while waiting and len(seen) <= _DIRECTORIES:
        place = waiting.pop(0)
        if place in seen or place >= len(data):
            continue
        seen.add(place)
        tags = _Tags(header, data[:2])
        file.seek(place)
        tags.load(file)
        yield place, tags
        below = tags.get(_SUBDIRECTORIES, ())
        waiting = [*(below if isinstance(below, tuple) else (below,)), tags.next, *waiting]


def _is_big(data: bytes) -> bool:
    """Return whether it is a BigTIFF."""
    return 43 in data[2:4]


def _is_reduced(tags: _Tags) -> bool:
    """Return whether it is a thumbnail, a preview or a mask."""
    kind = tags.get(_SUBFILE_TYPE, 0)
    return bool(kind & 0b101) or tags.get(_OLD_SUBFILE_TYPE) == 2 or tags.get(_PHOTOMETRIC) == _MASK


def _with_first(data: bytes, place: int) -> bytes:
    """Return a TIFF that starts with another of its directories."""
    order = "<" if data.startswith(b"II") else ">"
    if _is_big(data):
        return data[:8] + struct.pack(f"{order}Q", place) + data[16:]
    return data[:4] + struct.pack(f"{order}L", place) + data[8:]


def _open(data: bytes, tags: _Tags) -> Image.Image:
    image: Image.Image | None = None
    if not _pillow_misreads(tags):
        with suppress(UnidentifiedImageError):
            image = Image.open(BytesIO(data), formats=("TIFF",))
    if image is None:
        image = _read_unusual(data, tags)
    image.info.setdefault("notes", [])
    image.info["data"] = data
    return image


def _pillow_misreads(tags: _Tags) -> bool:
    """Return whether it is one of the TIFFs that Pillow silently reads wrong."""
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0]
    planes_apart = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
    unsigned, signed = (tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == kind for kind in (1, 2))
    has_alpha = tags.get(TiffImagePlugin.SAMPLESPERPIXEL) == 2
    return (
        (planes_apart and (bits > 8 or has_alpha))
        or (bits == 32 and unsigned)
        or (bits == 8 and signed)
        or (_PHOTOMETRIC not in tags and bits == 8)
    )


def _read_unusual(data: bytes, tags: _Tags) -> Image.Image:
    """Read a TIFF that Pillow has no mode for: float RGB, 64 bits, planes of 16 bits, ..."""
    import tifffile  # slow to import, and seldom needed

    with tifffile.TiffFile(BytesIO(data)) as tiff:
        page = tiff.pages.first
        assumed = _RGB if page.samplesperpixel > 2 else _BLACK_IS_ZERO
        kind = tags.get(_PHOTOMETRIC, assumed)
        if kind not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
            name = tifffile.PHOTOMETRIC(kind).name
            raise ValueError(f"a TIFF of {name}, not grey or RGB: save it as RGB")
        values = page.asarray()
    planes = np.moveaxis(values, -1, 0) if page.axes.endswith("S") else values
    planes = planes.reshape(-1, *planes.shape[-2:])
    colors = 3 if kind == _RGB else 1
    has_alpha = tuple(page.extrasamples)[:1] in ((1,), (2,))
    planes, notes = scale_planes(planes[: colors + has_alpha], tags)
    if kind == _WHITE_IS_ZERO:
        planes[0] = ~planes[0]
    pixels = np.moveaxis(to_bytes(planes), 0, -1)
    image = Image.fromarray(pixels[..., 0] if len(planes) == 1 else np.ascontiguousarray(pixels))
    exif = image.getexif()
    exif.bigtiff, exif.endian = _is_big(data), "<" if data.startswith(b"II") else ">"
    with suppress(struct.error):  # a big-endian BigTIFF
        exif.load_from_fp(BytesIO(data), page.offset)
    exif[ExifTags.Base.Orientation] = tags.get(ExifTags.Base.Orientation, 1)
    image.info.update(deep=values.dtype.itemsize > 1, notes=notes)
    image.info.update(xmp=tags.get(_XMP, b""), icc_profile=tags.get(_PROFILE))
    return image
