"""The metadata of an image that a result keeps."""

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin

Base = ExifTags.Base

# The other tags of a TIFF describe its pixels; a grey thumbnail would be wrong.
_TAGS = (
    *(Base.ImageDescription, Base.Make, Base.Model, Base.Software),
    *(Base.DateTime, Base.Artist, Base.Copyright),
)
_HOLDS_BLOCKS = ("JPEG", "PNG", "TIFF", "WEBP")  # EXIF and XMP
_HOLDS_IPTC = ("JPEG", "TIFF")
_HOLDS_RESOLUTION = ("JPEG", "PNG", "TIFF", "BMP")
_MOST = 65_500  # bytes of a block in a JPEG
_SOFTWARE = 500  # bytes reserved for the names of this package and a model

XMP_TAG, IPTC_TAG = 700, 33723
_IPTC_IN_JPEG = 0x0404
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[2-8]")


@dataclass(frozen=True)
class Metadata:
    """The metadata of an upright photograph.

    `exif` has description, dates, camera and place, text as bytes; no orientation, no thumbnail.
    `xmp` and `iptc` are empty if there are none. `dpi` is horizontal and vertical. `lost` is lost
    in every format, as human-readable notes.
    """

    exif: Image.Exif = field(default_factory=Image.Exif)
    xmp: bytes = b""
    iptc: bytes = b""
    dpi: tuple[float, float] | None = None
    lost: tuple[str, ...] = ()

    def fit(self, form: str) -> "tuple[Metadata, list[str]]":
        """Return the metadata that a format (Pillow's name) holds, and notes on the rest."""
        lost = list(self.lost)

        def holds(kind: str, size: int, forms: tuple[str, ...], most: int = _MOST) -> bool:
            dropped = size > 0 and (form not in forms or size > most)
            lost.extend([f"{kind} dropped"] * dropped)
            return not dropped

        exif, partial = _in_tiff(self.exif) if form == "TIFF" else (self.exif, False)
        lost += ["part of EXIF dropped"] * partial
        size = len(exif.tobytes()) if len(exif) else 0
        if not holds("EXIF", size, _HOLDS_BLOCKS, _MOST - _SOFTWARE):
            exif = Image.Exif()
        xmp = self.xmp if holds("XMP", len(self.xmp), _HOLDS_BLOCKS) else b""
        iptc = self.iptc if holds("IPTC", len(self.iptc), _HOLDS_IPTC) else b""
        dpi = self.dpi if form in _HOLDS_RESOLUTION else None
        # Pillow reports 72 if the file has no resolution.
        lost += ["resolution dropped"] * (dpi is None and self.dpi not in (None, (72, 72)))
        return Metadata(exif, xmp, iptc, dpi), lost

    def with_software(self, name: str) -> "Metadata":
        """Return a copy with the name of a program, after the names of earlier ones."""
        exif = Image.Exif()
        for tag, value in self.exif.items():
            exif[tag] = value
        names = [exif.get(Base.Software, b""), name.encode()]
        exif[Base.Software] = b"; ".join(filter(None, names))
        return replace(self, exif=exif)


def read_metadata(image: Image.Image) -> Metadata:
    """Return the metadata of an image whose pixels are loaded."""
    lost = []
    exif = Image.Exif()
    try:
        exif, partial = _read_exif(image)
        lost += ["part of EXIF dropped"] * partial
    except Exception:  # a damaged block raises nearly any class
        lost.append("EXIF dropped")
    if image.format is None:  # read by tifffile
        lost.append("metadata dropped")
    xmp = image.info.get("xmp", b"")
    if not isinstance(xmp, bytes):
        lost.append("XMP dropped")
        xmp = b""
    iptc, partial = _read_iptc(image)
    lost += ["IPTC dropped"] * partial
    dpi = None
    with suppress(TypeError, ValueError, ZeroDivisionError):
        across, down = map(float, image.info.get("dpi", ()))
        if 1 <= across <= 10_000 and 1 <= down <= 10_000:
            dpi = (across, down)
    return Metadata(exif, _XMP_ORIENTATION.sub(rb"\g<1>1", xmp), iptc, dpi, tuple(lost))


def _read_exif(image: Image.Image) -> tuple[Image.Exif, bool]:
    """Return the block that describes the photograph, and whether a part is left out."""
    old, new = image.getexif(), Image.Exif()
    partial = False
    for tag in _TAGS:
        text = old.get(tag)
        if isinstance(text, str):
            new[tag] = text.encode("latin-1")  # as Pillow reads any byte
        else:
            partial |= text is not None
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        values = dict(old.get_ifd(ifd))
        for place in (Base.MakerNote, ExifTags.IFD.Interop):  # they refer to where they are
            values.pop(place, None)
        if Base.ColorSpace in values:
            values[Base.ColorSpace] = 1  # sRGB
        kept = {tag: value for tag, value in values.items() if _can_write(ifd, tag, value)}
        if kept:
            new[ifd] = kept
        partial |= len(kept) < len(values)
    return new, partial


def _can_write(ifd: int, tag: int, value: Any) -> bool:
    """Return whether Pillow writes this value as it is."""
    if isinstance(value, str) and not value.isascii():  # as question marks
        return False
    block = Image.Exif()
    block[ifd] = {tag: value}
    try:
        block.tobytes()
    except Exception:  # another type than the tag's raises nearly any class
        return False
    return True


def _in_tiff(exif: Image.Exif) -> tuple[Image.Exif, bool]:
    """Return what Pillow writes into a compressed TIFF, and whether a part is left out.

    It writes no sub-blocks there, and text beyond ASCII as question marks.
    """
    kept = Image.Exif()
    for tag in _TAGS:
        if tag in exif and exif[tag].isascii():
            kept[tag] = exif[tag]
    return kept, len(kept) < len(exif)


def _read_iptc(image: Image.Image) -> tuple[bytes, bool]:
    """Return the IPTC block, and whether there is one that cannot be read."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        block = image.tag_v2.get(IPTC_TAG, b"")
    else:
        resources = image.info.get("photoshop", {})
        block = resources.get(_IPTC_IN_JPEG, b"") if isinstance(resources, dict) else b""
    return (block, False) if isinstance(block, bytes) else (b"", True)


def iptc_segment(iptc: bytes) -> bytes:
    """Return the segment of a JPEG that holds an IPTC block."""
    padded = iptc + b"\0" * (len(iptc) % 2)
    resource = b"8BIM" + _IPTC_IN_JPEG.to_bytes(2, "big") + bytes(2)
    content = b"Photoshop 3.0\0" + resource + len(iptc).to_bytes(4, "big") + padded
    return b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content
