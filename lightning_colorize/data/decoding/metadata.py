"""The metadata of an image that a result keeps."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import ExifTags, Image

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
_TAGGED = ("JPEG", "MPO", "TIFF")  # by EXIF's tags
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
            "resolution": self.dpi not in (None, (72, 72)),  # unknown, by EXIF's standard
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
    exif, lost = _read_exif(image)
    blocks = {"XMP": image.info.get("xmp", b""), "IPTC": _read_iptc(image)}
    lost += [f"{name} dropped" for name, block in blocks.items() if not isinstance(block, bytes)]
    xmp, iptc = (block if isinstance(block, bytes) else b"" for block in blocks.values())
    xmp = XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return Metadata(exif, xmp, iptc, _read_resolution(image), tuple(lost))


def _read_resolution(image: Image.Image) -> tuple[float, float] | None:
    """Return the horizontal and vertical dpi in the file; without, Pillow may say 72, 1 or 2.54."""
    with suppress(Exception):  # a damaged EXIF block raises nearly any class
        exif, given = image.getexif(), image.info.get("dpi")
        if given is None or (image.format in _TAGGED and image.info.get("jfif_unit") not in (1, 2)):
            per_inch = {2: 1, 3: 2.54}[exif.get(Base.ResolutionUnit, 2)]
            given = [exif[tag] * per_inch for tag in (Base.XResolution, Base.YResolution)]
        across, down = map(float, given)
        if 1 < across <= 10_000 and 1 < down <= 10_000:
            return across, down
    return None


def _read_exif(image: Image.Image) -> tuple[Image.Exif, list[str]]:
    """Return the block that describes the photograph, and a note if a part is left out."""
    exif, lost = Image.Exif(), []
    try:
        old = image.getexif()
        for tag in _TAGS:
            # tifffile's default describes a shape, which the result does not have.
            if isinstance(text := old.get(tag), str) and not text.startswith('{"shape": ['):
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
    if image.format in ("TIFF", None):  # None: read by tifffile
        return image.getexif().get(IPTC_TAG, b"")
    resources = image.info.get("photoshop", {})
    return resources.get(_IPTC_IN_JPEG, b"") if isinstance(resources, dict) else b""


def iptc_segment(iptc: bytes) -> bytes:
    """Return the segment of a JPEG that holds an IPTC block."""
    padded = iptc + b"\0" * (len(iptc) % 2)
    resource = b"8BIM" + _IPTC_IN_JPEG.to_bytes(2, "big") + bytes(2)
    content = b"Photoshop 3.0\0" + resource + len(iptc).to_bytes(4, "big") + padded
    return b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content
