"""Writing photographs to files, at 8 or 16 bits, with transparency and metadata."""

import struct
import zlib
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from lightning_colorize.common.files import atomic_file
from lightning_colorize.data.decoding.metadata import IPTC_TAG, XMP_TAG, Metadata, iptc_segment
from lightning_colorize.data.decoding.photograph import Photograph

WRITABLE = {
    ".bmp": "BMP",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""Pillow's formats of the writable files, by lower-case suffix."""

_HOLDS_ALPHA = ("PNG", "TIFF", "WEBP")
_HOLDS_SIXTEEN_BITS = ("PNG", "TIFF")
_XMP_IN_PNG = "XML:com.adobe.xmp"
_COMPRESSION = 3  # zlib level: half the time of the default level for 2 % more bytes

_OPTIONS: dict[str, dict[str, Any]] = {
    # Chroma subsampling would blur the predicted colors.
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {"compress_level": _COMPRESSION},
    "WEBP": {"quality": 95, "use_sharp_yuv": True},
}


def fit_format(photograph: Photograph, path: Path) -> tuple[Photograph, list[str]]:
    """Reduce a photograph to the depth and metadata that a file format, of `WRITABLE`, supports.

    Returns:
        A photograph that `write_photograph` writes without loss (except as JPEG and WebP), and
        notes on the information lost, including on reading.
    """
    form = WRITABLE[path.suffix.lower()]
    metadata, lost = photograph.metadata.fit(form)
    notes = list(photograph.notes)
    if photograph.most > 255 and form not in _HOLDS_SIXTEEN_BITS:
        notes.append("reduced to 8 bits")
        photograph = photograph.to_eight_bits()
    if photograph.alpha is not None and form not in _HOLDS_ALPHA:
        notes.append("transparency composited over white")
        photograph = photograph.over_white()
    return Photograph(photograph.rgb, photograph.alpha, metadata), notes + lost


def write_photograph(photograph: Photograph, path: Path) -> None:
    """Write a result of `fit_format` atomically, in the format of the suffix.

    Raises:
        OSError: If it cannot be written.
        ValueError: If the image has more pixels than the format allows.
    """
    form = WRITABLE[path.suffix.lower()]
    planes = [photograph.rgb] if photograph.alpha is None else [photograph.rgb, photograph.alpha]
    pixels = np.ascontiguousarray(np.concatenate([p.numpy() for p in planes]).transpose(1, 2, 0))
    # Encode in memory first: on a full disk, Pillow reports only an "encoder error" for some
    # formats.
    encoded = BytesIO()
    if form == "TIFF":
        _encode_tiff(pixels, photograph.metadata, encoded)
    elif photograph.most > 255:
        _encode_deep_png(pixels, photograph.metadata, encoded)
    else:
        options = _OPTIONS.get(form, {}) | _metadata_options(photograph.metadata, form)
        Image.fromarray(pixels).save(encoded, form, **options)
    with atomic_file(path, sync=False) as file:
        file.write(encoded.getbuffer())


def _metadata_options(metadata: Metadata, form: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if metadata.dpi is not None or form == "BMP":  # Pillow's default would be 96
        options["dpi"] = metadata.dpi or (0, 0)
    if len(metadata.exif):
        options["exif"] = metadata.exif.tobytes()
    if metadata.iptc:
        options["extra"] = iptc_segment(metadata.iptc)
    if metadata.xmp and form == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt(_XMP_IN_PNG, metadata.xmp.decode(errors="replace"))
    elif metadata.xmp:
        options["xmp"] = metadata.xmp
    return options


def _encode_deep_png(pixels: np.ndarray, metadata: Metadata, encoded: BytesIO) -> None:
    """Encode a 16-bit PNG, which Pillow cannot do."""
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    # Store each row as its difference from the one above (filter 2), which compresses better.
    filtered = np.full((height, 1 + rows.shape[1]), 2, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    encoded.write(b"\x89PNG\r\n\x1a\n")
    chunk = partial(PngImagePlugin.putchunk, encoded)
    color = {3: 2, 4: 6}[channels]
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0))
    if metadata.dpi is not None:
        per_meter = [round(dpi / 0.0254) for dpi in metadata.dpi]
        chunk(b"pHYs", struct.pack(">IIB", *per_meter, 1))
    if len(metadata.exif):
        chunk(b"eXIf", metadata.exif.tobytes().removeprefix(b"Exif\0\0"))
    if metadata.xmp:
        chunk(b"iTXt", _XMP_IN_PNG.encode() + bytes(5) + metadata.xmp)
    chunk(b"IDAT", zlib.compress(filtered.data, _COMPRESSION))
    chunk(b"IEND", b"")


def _encode_tiff(pixels: np.ndarray, metadata: Metadata, encoded: BytesIO) -> None:
    """Encode a TIFF of 8 or 16 bits; Pillow writes only 8."""
    import tifffile  # slow to import, and seldom needed

    tags = dict(metadata.exif)
    software = tags.pop(ExifTags.Base.Software, b"")
    blocks = {XMP_TAG: metadata.xmp, IPTC_TAG: metadata.iptc}
    tifffile.imwrite(
        encoded,
        pixels,
        photometric="rgb",
        compression="zlib",
        compressionargs={"level": _COMPRESSION},
        extrasamples=["unassalpha"] * (pixels.shape[-1] == 4),
        resolution=metadata.dpi,
        resolutionunit="inch" if metadata.dpi else None,
        software=software,
        metadata=None,
        extratags=[
            *((tag, "s", 0, text, True) for tag, text in tags.items()),
            *((tag, "B", len(block), block, True) for tag, block in blocks.items() if block),
        ],
    )
