"""What is to be known of one image, in a record of fixed length."""

from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import numpy as np

from lightning_colorize.data.audit.descriptor import LENGTH, descriptor
from lightning_colorize.data.audit.grey import grey_chroma
from lightning_colorize.data.dataset import limit_length, resize_short_side
from lightning_colorize.data.decoding.files import ImageError, decode_image, read_header
from lightning_colorize.data.images import ImageSet

LOOK = np.dtype(
    [
        ("digest", "S16"),  # of the file's bytes
        ("bytes", np.int64),
        ("height", np.int32),
        ("width", np.int32),
        ("cmyk", np.bool_),
        ("has_profile", np.bool_),
        ("chroma", np.float32),  # as `grey_chroma` gives it
        ("descriptor", np.float16, LENGTH),  # errs by 0.0002, as long as it is
    ]
)
"""An image; all zeros stand for one that is broken."""

# A JPEG is decoded to no less than this, and everything else brought down to it: what training
# sees of a photograph, and fast.
_SIDE = 128


def look_at(images: ImageSet, index: int) -> tuple[np.ndarray, ImageError | None]:
    """Read an image once and note what matters of it.

    Args:
        images: A set whose images are files, or bytes of files.
        index: Which one.

    Returns:
        A record, () of `LOOK`, and what is wrong if it cannot be read.
    """
    look = np.zeros((), dtype=LOOK)
    try:
        data = images.encoded(index)
        assert data is not None
        place = Path(images.name(index))
        header = read_header(BytesIO(data), place)
        rgb = limit_length(decode_image(data, place, _SIDE))
    except ImageError as error:
        return look, error
    rgb = resize_short_side(rgb, min(_SIDE, *rgb.shape[1:]))
    look["digest"] = blake2b(data, digest_size=16).digest()
    look["bytes"] = len(data)
    look["height"], look["width"] = header.height, header.width
    look["cmyk"], look["has_profile"] = header.mode == "CMYK", header.has_profile
    look["chroma"] = grey_chroma(rgb)
    look["descriptor"] = descriptor(rgb)
    return look, None
