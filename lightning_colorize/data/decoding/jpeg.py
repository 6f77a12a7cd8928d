"""JPEGs: which of them any decoder gives alike, and torchvision's decoder."""

from io import BytesIO

import torch
from PIL import ExifTags, Image
from torch import Tensor

from lightning_colorize.data.decoding.c_stderr import silent_c_stderr
from lightning_colorize.data.decoding.pillow_modes import srgb_transform

try:
    from torchvision.io import decode_jpeg
except ImportError:  # torchvision 0.29 announces its end; without it Pillow reads every JPEG
    decode_jpeg = None

_CPU = torch.device("cpu")

_END = b"\xff\xd9"
# Some cameras fill files up; more than this is not looked through.
_AFTER_THE_END = 4096


def decode_jpegs(files: list[Tensor], device: torch.device = _CPU) -> list[Tensor]:
    """Decode whole files, as they are stored: not turned, in their own colour space.

    Args:
        files: (n,), uint8, each, on the CPU.
        device: By libjpeg on a CPU, by nvJPEG on a GPU.

    Returns:
        (3, H, W), uint8, each, on the device.

    Raises:
        RuntimeError: If one of them cannot be decoded, or torchvision cannot do it there.
    """
    if decode_jpeg is None:
        raise RuntimeError("it has no decode_jpeg")
    with silent_c_stderr():
        decoded: list[Tensor] = decode_jpeg(files, mode="RGB", device=device)
    return decoded


def plain_jpeg_pixels(data: bytes) -> int | None:
    """Return the number of pixels of a JPEG that any decoder gives as `read_image` does.

    Args:
        data: A file's bytes, of which the header is read.

    Returns:
        None for what is no JPEG, CMYK, to be turned, in another colour space than sRGB or cut
        short, and for what cannot be read.
    """
    if not data[-_AFTER_THE_END:].rstrip(b"\0\r\n").endswith(_END):
        return None
    try:
        with Image.open(BytesIO(data), formats=("JPEG",)) as image:
            # Stored as red, green and blue, which few decoders look for.
            stored_as_rgb = image.mode == "RGB" and image.info.get("adobe_transform") == 0
            plain = image.format == "JPEG" and is_srgb(image) and not stored_as_rgb
            return image.width * image.height if plain and orientation(image) == 1 else None
    except Exception:  # readers raise nearly any class; what is wrong is said where it is read
        return None


def is_srgb(image: Image.Image) -> bool:
    """Say whether a JPEG is in grey or RGB, and no profile says that it is not sRGB."""
    profile = image.info.get("icc_profile")
    return image.mode in ("L", "RGB") and not (profile and srgb_transform(profile, image.mode))


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none or it is damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block raises nearly any class; the pixels may be whole
        return 1
    return orientation if orientation in range(1, 9) else 1
