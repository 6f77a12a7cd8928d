"""TIFFs: the directory with the photograph, and by tifffile the kinds that Pillow misreads."""

import struct
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from PIL import ExifTags, Image, UnidentifiedImageError
from tifffile import PHOTOMETRIC

from lightning_colorize.data.decoding.colors import eight_bits, scale, xmp_orientation

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_BLANK = 32
"""The largest number of images at the start of a file that are skipped if they are blank."""

_MOST_PAGES = 1000
_RAW = (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW)
_GREY_OR_RGB = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB)
_CANON_RAW, _DNG_VERSION, _PHOTOMETRIC, _XMP, _PROFILE = b"CR\2", 50706, 262, 700, 34675


def open_tiff(data: bytes, require_few: Callable[[int], None]) -> Image.Image:
    """Open the photograph of a TIFF: the first of the largest full-resolution images not blank.

    `require_few` checks the number of pixels. `notes` of the image's `info` say what was chosen and
    scaled; `values` are (H, W, channels), uint16, of colors of 16 bits.
    """
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        pages: list[Any] = []
        for page in tiff.pages[:_MOST_PAGES]:
            pages.append(page)
            with suppress(Exception):  # pointers that an editor did not update
                pages += page.pages or ()
        raw = data[8:11] == _CANON_RAW or _DNG_VERSION in pages[0].tags
        if raw or any(page.photometric in _RAW for page in pages):
            raise ValueError("raw data of a camera: develop it, then save it as TIFF or JPEG")
        full = [page for page in pages if not (page.is_reduced or page.is_mask)] or pages
        sizes = [page.imagewidth * page.imagelength for page in full]
        if not max(sizes):
            raise ValueError("a TIFF without pixels")
        require_few(max(sizes))
        largest = [page for page, size in zip(full, sizes, strict=True) if size == max(sizes)]
        for page in [*largest[:MOST_BLANK], largest[0]]:
            image = _open(data, tiff, page)
            if len(largest) == 1 or not is_blank(image):
                break
    if page is not pages[0]:
        note = f"image {pages.index(page) + 1} of {len(pages)}: the largest that is not blank"
        image.info["notes"].insert(0, note)
    elif len(full) > 1:
        image.info["notes"].insert(0, "the first of several images")
    return image


def is_blank(image: Image.Image) -> bool:
    """Return whether an image has one color only, or is transparent."""
    if image.has_transparency_data or image.mode == "P":
        image = image.convert("RGBA")
    ranges = np.reshape(image.getextrema(), (-1, 2))
    return bool((image.mode == "RGBA" and ranges[3, 1] == 0) or (np.ptp(ranges, axis=1) <= 2).all())


def _open(data: bytes, tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> Image.Image:
    straight = 1 < page.samplesperpixel < 6 and tuple(page.extrasamples)[:1] != (1,)
    if page.bitspersample == 16 and straight:
        with suppress(Exception):  # of another kind than grey or RGB, or compressed
            return _read_unusual(data, tiff, page)
    if not _pillow_misreads(page):
        if page.offset != tiff.pages.first.offset:  # let the file start with this page
            start, form = (8, "Q") if tiff.is_bigtiff else (4, "L")
            place = struct.pack(tiff.byteorder + form, page.offset)
            data = data[:start] + place + data[start + len(place) :]
        with suppress(UnidentifiedImageError):
            image: Image.Image = Image.open(BytesIO(data), formats=("TIFF",))
            image.info["notes"] = []
            return image
    return _read_unusual(data, tiff, page)


def _pillow_misreads(page: tifffile.TiffPage) -> bool:
    """Return whether it is one of the TIFFs that Pillow silently reads wrong."""
    bits, form = page.bitspersample, page.sampleformat  # 1: unsigned, 2: signed
    if page.planarconfig == 2 and (bits > 8 or page.samplesperpixel == 2):
        return True
    return (bits, form) in ((32, 1), (8, 2)) or (bits == 8 and _PHOTOMETRIC not in page.tags)


def _read_unusual(data: bytes, tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> Image.Image:
    """Read a TIFF that Pillow has no mode for: RGB of 16 bits or float, 64 bits, planes, ..."""
    kind = PHOTOMETRIC(page.photometric)
    if _PHOTOMETRIC not in page.tags:
        kind = PHOTOMETRIC.RGB if page.samplesperpixel > 2 else PHOTOMETRIC.MINISBLACK
    if kind not in _GREY_OR_RGB:
        raise ValueError(f"a TIFF of {kind.name}, not grey or RGB: save it as RGB")
    values = page.asarray()
    if page.axes.endswith("SYX"):
        values = np.moveaxis(values, -3, -1)
    values = values.reshape(page.imagelength, page.imagewidth, -1)
    alpha = tuple(page.extrasamples)[:1] in ((1,), (2,))
    colors = 3 if kind == PHOTOMETRIC.RGB else 1
    values, extra = values[..., :colors], values[..., colors : colors + alpha]
    values, notes = scale(values, {tag.code: tag.value for tag in page.tags})
    values = np.concatenate([values, scale(extra)[0]], axis=-1)
    if kind == PHOTOMETRIC.MINISWHITE:
        values[..., 0] = ~values[..., 0]
    pixels = eight_bits(values)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    exif = image.getexif()
    exif.bigtiff, exif.endian = tiff.is_bigtiff, tiff.byteorder
    with suppress(struct.error):  # a big-endian BigTIFF
        exif.load_from_fp(BytesIO(data), page.offset)
    xmp = page.tags.valueof(_XMP, b"")
    turned = page.tags.valueof(ExifTags.Base.Orientation, xmp_orientation(xmp))
    exif[ExifTags.Base.Orientation] = turned
    image.info.update(xmp=xmp, icc_profile=page.tags.valueof(_PROFILE))
    image.info.update(notes=notes, deep=page.bitspersample > 8, values=values)
    return image
