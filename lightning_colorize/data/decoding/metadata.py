"""What a result keeps of the metadata of its image."""

from contextlib import suppress
from typing import Any

from PIL import ExifTags, Image

from lightning_colorize.data.decoding.files import open_image

# The other tags of a TIFF describe its pixels; a grey thumbnail would be wrong.
_TAGS = (
    *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model),
    *(ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright),
)
_HOLDS_EXIF = ("JPEG", "PNG", "TIFF", "WEBP")
_HOLDS_RESOLUTION = ("JPEG", "PNG", "TIFF", "BMP")
_MOST_EXIF = 65_500  # bytes in a JPEG


def read_metadata(data: bytes, form: str) -> tuple[dict[str, Any], list[str]]:
    """Return EXIF, without the orientation, and resolution of an image.

    Args:
        data: Of an image file that can be decoded.
        form: Pillow's name of the format of the result.

    Returns:
        Options of Pillow's `save`; and what the result does not keep, in words.
    """
    kept: dict[str, Any] = {}
    lost = []
    with open_image(data) as image:
        exif = b""
        try:
            exif, partial = _exif(image, in_tiff=form == "TIFF")
            lost += ["part of EXIF dropped"] * partial
        except Exception:  # a damaged block raises nearly any class
            lost.append("EXIF dropped")
        if exif and form in _HOLDS_EXIF and len(exif) <= _MOST_EXIF:
            kept["exif"] = exif
        elif exif:
            lost.append("EXIF dropped")
        if image.format is None:  # read by tifffile
            lost.append("metadata dropped")
        with suppress(TypeError, ValueError, ZeroDivisionError):
            across, down = map(float, image.info.get("dpi", ()))
            possible = 1 <= across <= 10_000 and 1 <= down <= 10_000
            if form in _HOLDS_RESOLUTION and possible:
                kept["dpi"] = (across, down)
            elif possible and (across, down) != (72, 72):  # Pillow's value if the file has none
                lost.append("resolution dropped")
    return kept, lost


def _exif(image: Image.Image, in_tiff: bool) -> tuple[bytes, bool]:
    """Return the block that describes the photograph, maybe empty; and whether a part is left out.

    Into a compressed TIFF, Pillow writes no sub-blocks, and text beyond ASCII as question marks;
    the latter into sub-blocks as well.
    """
    old, new = image.getexif(), Image.Exif()
    partial = False
    for tag in _TAGS:
        text = old.get(tag)
        if isinstance(text, str) and (text.isascii() or not in_tiff):
            new[tag] = text.encode("latin-1")  # as Pillow reads any byte
        else:
            partial |= text is not None
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        values = dict(old.get_ifd(ifd))
        values.pop(ExifTags.Base.MakerNote, None)  # it refers to its place in the file
        kept = {
            tag: value
            for tag, value in values.items()
            if not in_tiff and not (isinstance(value, str) and not value.isascii())
        }
        if kept:
            new[ifd] = kept
        partial |= len(kept) < len(values)
    return new.tobytes() if len(new) else b"", partial
