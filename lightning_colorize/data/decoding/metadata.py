"""The metadata of an image that a result keeps."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin

from lightning_colorize.data.decoding.colors import XMP_ORIENTATION

Base = ExifTags.Base

# The other tags of a TIFF describe its pixels; a grey thumbnail would be wrong.
_TAGS = (
    *(Base.ImageDescription, Base.Make, Base.Model, Base.Software),
    *(Base.DateTime, Base.Artist, Base.Copyright),
)
_BLOCKS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_HOLDS = {
    "EXIF": ("JPEG", "PNG", "TIFF", "WEBP"),
    "XMP": ("JPEG", "PNG", "TIFF", "WEBP"),
    "IPTC": ("JPEG", "TIFF"),
    "resolution": ("JPEG", "PNG", "TIFF", "BMP"),
}
_MOST = 65_000  # bytes of a block in a JPEG, less the names of this package and a model

XMP_TAG, IPTC_TAG = 700, 33723
_IPTC_IN_JPEG = 0x0404


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
        exif, lost = self.exif, list(self.lost)
        if form == "TIFF" and any(block in exif for block in _BLOCKS):  # it is written without
            exif = _copy(exif, _TAGS)
            lost.append("part of EXIF dropped")
        sizes = {
            "EXIF": len(exif.tobytes()) if len(exif) else 0,
            "XMP": len(self.xmp),
            "IPTC": len(self.iptc),
            "resolution": self.dpi not in (None, (72, 72)),  # Pillow's default
        }
        dropped = [
            kind
            for kind, size in sizes.items()
            if size and (form not in _HOLDS[kind] or size > _MOST)
        ]
        kept = Metadata(
            Image.Exif() if "EXIF" in dropped else exif,
            b"" if "XMP" in dropped else self.xmp,
            b"" if "IPTC" in dropped else self.iptc,
            self.dpi,
        )
        return kept, lost + [f"{kind} dropped" for kind in dropped]

    def with_software(self, name: str) -> "Metadata":
        """Return a copy with the name of a program, after the names of earlier ones."""
        exif = _copy(self.exif, self.exif)
        names = [exif.get(Base.Software, b""), name.encode()]
        exif[Base.Software] = b"; ".join(filter(None, names))
        return replace(self, exif=exif)


def _copy(exif: Image.Exif, tags: Iterable[int]) -> Image.Exif:
    """Return a copy of some tags of a block."""
    copied = Image.Exif()
    for tag in tags:
        if tag in exif:
            copied[tag] = exif[tag]
    return copied


def read_metadata(image: Image.Image) -> Metadata:
    """Return the metadata of an image whose pixels are loaded."""
    if image.format is None:  # read by tifffile
        return Metadata(lost=("metadata dropped",))
    exif, lost = _read_exif(image)
    xmp = image.info.get("xmp", b"")
    if not isinstance(xmp, bytes):
        lost.append("XMP dropped")
        xmp = b""
    iptc = _read_iptc(image)
    if not isinstance(iptc, bytes):
        lost.append("IPTC dropped")
        iptc = b""
    dpi = None
    with suppress(TypeError, ValueError, ZeroDivisionError):
        across, down = map(float, image.info.get("dpi", ()))
        if 1 < across <= 10_000 and 1 < down <= 10_000:  # 1 if a TIFF has none
            dpi = (across, down)
    return Metadata(exif, XMP_ORIENTATION.sub(rb"\g<1>1", xmp), iptc, dpi, tuple(lost))


def _read_exif(image: Image.Image) -> tuple[Image.Exif, list[str]]:
    """Return the block that describes the photograph, and a note if a part is left out."""
    exif, lost = Image.Exif(), []
    try:
        old = image.getexif()
        for tag in _TAGS:
            if isinstance(text := old.get(tag), str):
                exif[tag] = text.encode("latin-1")  # as Pillow reads any byte
        blocks = {block: dict(old.get_ifd(block)) for block in _BLOCKS}
    except Exception:  # a damaged block raises nearly any class
        return exif, ["EXIF dropped"]
    for block, values in blocks.items():
        for place in (Base.MakerNote, ExifTags.IFD.Interop):  # they refer to where they are
            values.pop(place, None)
        if Base.ColorSpace in values:
            values[Base.ColorSpace] = 1  # sRGB
        trial = Image.Exif()
        trial[block] = values
        try:
            trial.tobytes()
        except Exception:  # another type than the tag's raises nearly any class
            lost = ["part of EXIF dropped"]
        else:
            exif.update({block: values} if values else {})
    return exif, lost


def _read_iptc(image: Image.Image) -> Any:
    """Return the IPTC block, b"" if there is none; of another type if it cannot be read."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.tag_v2.get(IPTC_TAG, b"")
    resources = image.info.get("photoshop", {})
    return resources.get(_IPTC_IN_JPEG, b"") if isinstance(resources, dict) else b""


def iptc_segment(iptc: bytes) -> bytes:
    """Return the segment of a JPEG that holds an IPTC block."""
    padded = iptc + b"\0" * (len(iptc) % 2)
    resource = b"8BIM" + _IPTC_IN_JPEG.to_bytes(2, "big") + bytes(2)
    content = b"Photoshop 3.0\0" + resource + len(iptc).to_bytes(4, "big") + padded
    return b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content
