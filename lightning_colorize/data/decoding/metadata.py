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
            exif, partial = _exif(image, sub_blocks=form != "TIFF")
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
            if not 1 <= min(across, down) <= max(across, down) <= 10_000:
                raise ValueError
            if form in _HOLDS_RESOLUTION:
                kept["dpi"] = (across, down)
            else:
                lost.append("resolution dropped")
    return kept, lost


def _exif(image: Image.Image, sub_blocks: bool) -> tuple[bytes, bool]:
    """Return the block that describes the photograph, maybe empty; and whether a part is left out.

    Pillow cannot write the sub-blocks into a compressed TIFF.
    """
    old, new = image.getexif(), Image.Exif()
    new.update({tag: old[tag] for tag in _TAGS if tag in old})
    partial = False
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        values = {
            # A maker's note refers to its place in the file.
            tag: value
            for tag, value in old.get_ifd(ifd).items()
            if tag != ExifTags.Base.MakerNote
        }
        if values and sub_blocks:
            new[ifd] = values
        partial |= bool(values) and not sub_blocks
    return new.tobytes() if len(new) else b"", partial
