"""torchvision's JPEG decoder, and the JPEGs that every decoder reads identically."""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from io import BytesIO
from pathlib import Path

import torch
from PIL import ExifTags, Image
from torch import Tensor

from lightning_colorize.color.precision import ProcessSetting
from lightning_colorize.data.decoding.pillow_modes import NO_PILLOW_LIMIT, srgb_transform

try:
    from torchvision.io import decode_jpeg
except ImportError:  # deprecated since torchvision 0.29; without it Pillow reads every JPEG
    decode_jpeg = None

_CPU = torch.device("cpu")
_END = b"\xff\xd9"
# Some cameras pad their files; at most this many bytes are searched for the end marker.
_MAX_PADDING = 4096


def decode_jpegs(files: list[Tensor], device: torch.device = _CPU) -> list[Tensor]:
    """Decode whole files, (n,), uint8, on the CPU, without EXIF rotation and color conversion.

    A CPU decodes with libjpeg, a GPU with nvJPEG. Each becomes (3, H, W), uint8, on the device.

    Raises:
        RuntimeError: If a file cannot be decoded, or torchvision has no decoder for the device.
    """
    if decode_jpeg is None:
        raise RuntimeError("it has no decode_jpeg")
    with _SILENT_C_STDERR:
        decoded: list[Tensor] = decode_jpeg(files, mode="RGB", device=device)
    return decoded


def plain_jpeg_pixels(data: bytes) -> int | None:
    """Return the number of pixels of a JPEG that every decoder reads as `read_image` does.

    None for other formats, CMYK, EXIF rotation, color spaces other than sRGB, truncated and
    unreadable files.
    """
    if not data[-_MAX_PADDING:].rstrip(b"\0\r\n").endswith(_END):
        return None
    try:
        with NO_PILLOW_LIMIT, Image.open(BytesIO(data), formats=("JPEG",)) as image:
            # RGB without conversion to YCbCr, which few decoders support.
            stored_as_rgb = image.mode == "RGB" and image.info.get("adobe_transform") == 0
            plain = image.format == "JPEG" and is_srgb(image) and not stored_as_rgb
            return image.width * image.height if plain and orientation(image) == 1 else None
    except Exception:  # readers raise nearly any class; `read_image` reports the reason
        return None


def is_srgb(image: Image.Image) -> bool:
    """Return whether a JPEG is grey or RGB, without a profile other than sRGB."""
    profile = image.info.get("icc_profile")
    return image.mode in ("L", "RGB") and not (profile and srgb_transform(profile, image.mode))


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is missing or damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block raises nearly any class; the pixels may be intact
        return 1
    return orientation if orientation in range(1, 9) else 1


def bytes_written() -> str:
    """Return how many bytes this thread has written, as Linux counts them; elsewhere "".

    A decoding thread writes only libjpeg's warnings about damaged data, which are discarded.
    """
    with suppress(OSError):
        return Path("/proc/thread-self/io").read_text().partition("wchar: ")[2].split()[0]
    return ""


# libjpeg prints warnings about damaged data ("Corrupt JPEG data: 65 extraneous bytes before marker
# 0xd9") to C's `stderr`, and torchvision cannot turn that off. They would break progress bars. Only
# the C variable is replaced, not file descriptor 2, so output of Python and of C++ streams in other
# threads still reaches the terminal.
_SILENT_C_STDERR: ProcessSetting | nullcontext[None] = nullcontext()
if os.name == "posix":
    _c = ctypes.CDLL(None)
    _c.fopen.restype = ctypes.c_void_p
    _stderr = ctypes.c_void_p.in_dll(_c, "__stderrp" if sys.platform == "darwin" else "stderr")
    _devnull = _c.fopen(os.devnull.encode(), b"w")
    _c.setbuf(ctypes.c_void_p(_devnull), None)  # so that `bytes_written` counts each warning

    def _silence() -> Callable[[], None]:
        restore = partial(setattr, _stderr, "value", _stderr.value)
        _stderr.value = _devnull
        return restore

    _SILENT_C_STDERR = ProcessSetting(_silence)
