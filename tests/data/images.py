"""Small images of every odd kind.

`write(kind, path)` writes one file and returns what it shows: (H, W, 3), uint8, sRGB, upright,
computed from the written values. The suffix of `path` is ignored.
"""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageCms
from skimage.color import lab2rgb

JPEG = {"format": "JPEG", "quality": 97, "subsampling": 0}


def sample(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth image whose four corners differ, so that no two orientations look alike."""
    y, x = np.mgrid[0:height, 0:width]
    red = 20 + 200 * x / max(width - 1, 1)
    green = 30 + 180 * y / max(height - 1, 1)
    blue = 128 + 60 * np.sin(x / 9) * np.cos(y / 7)
    return np.stack([red, green, blue], axis=-1).round().astype(np.uint8)


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return (rgb * share + 255 * (1 - share)).round().astype(np.uint8)


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> None:
    image = (
        Image.fromarray(pixels)
        if mode is None
        else Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())
    )
    image.save(path, **options)


def cmyk_shows(ink: np.ndarray) -> np.ndarray:
    light = 1 - ink / 255
    return (255 * light[..., :3] * light[..., 3:]).round().astype(np.uint8)


def lightness_shows(lightness: np.ndarray) -> np.ndarray:
    """Return the greys of L*, 0 to 255."""
    return (255 * lab2rgb(np.dstack([lightness / 2.55, *np.zeros((2, *lightness.shape))]))).round()


def srgb_encode(linear: np.ndarray) -> np.ndarray:
    curve = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return (255 * curve).round().astype(np.uint8)


def stored_pixels(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels that a camera stores with this EXIF orientation, by the EXIF standard."""
    return {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.swapaxes(0, 1),  # left, top
        6: upright[:, ::-1].swapaxes(0, 1),  # right, top
        7: upright[::-1, ::-1].swapaxes(0, 1),  # right, bottom
        8: upright[::-1].swapaxes(0, 1),  # left, bottom
    }[orientation].copy()


def write_oriented(path: Path, orientation: int, format: str = "JPEG") -> np.ndarray:
    upright = sample()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": JPEG, "WEBP": {"lossless": True}}.get(format, {})
    save(path, stored_pixels(upright, orientation), **{"format": format, "exif": exif, **options})
    return upright


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """SRGB with red and blue swapped: an image shows its channels in reverse."""
    head, table = srgb_profile()[:132], srgb_profile()[132:]
    for old, new in ((b"rXYZ", b"-XYZ"), (b"bXYZ", b"rXYZ"), (b"-XYZ", b"bXYZ")):
        table = table.replace(old, new, 1)
    return head + table


def png_chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def write_png(path: Path, pixels: np.ndarray, interlaced: bool = False) -> None:
    """Write LA, RGB or RGBA of 8 or 16 bits."""
    height, width, channels = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
        passes += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [pixels[y::down, x::across] for y, x, down, across in passes]
    rows = [row.astype(f">u{depth // 8}").tobytes() for part in parts for row in part]
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = struct.pack(
        ">IIBBBBB", width, height, depth, {2: 4, 3: 2, 4: 6}[channels], 0, 0, interlaced
    )
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


Write = Callable[[Path], np.ndarray]
RGB = sample()
GREY = RGB[..., 0] // 2 + RGB[..., 1] // 2
# From transparent at the left to opaque at the right.
ALPHA = np.broadcast_to(np.linspace(0, 255, 64).round().astype(np.uint8), (48, 64))
GREY_JPEG = {"format": "JPEG", "quality": 97}
# 16 bits whose lower byte matters little: a conversion that clips makes it white.
DEEP, DEEP_GREY = RGB.astype(np.uint16) * 257, GREY.astype(np.uint16) * 257
# A palette image: the number of each pixel's color, and the colors.
NUMBERS = (np.add.outer(np.arange(48), np.arange(64)) // 7 % 16).astype(np.uint8)
COLORS = np.random.default_rng(0).integers(0, 256, (16, 3), dtype=np.uint8)
PIXEL = np.array([[[12, 200, 99]]], dtype=np.uint8)
CMYK = np.dstack([255 - RGB, np.full((48, 64), 40, np.uint8)])  # ink


def showing(shows: np.ndarray, save: Callable[[Path], object]) -> Write:
    """Return a function that saves a file and returns what it shows."""

    def write(path: Path) -> np.ndarray:
        save(path)
        return as_rgb(shows) if shows.ndim == 2 else shows

    return write


def saved(
    pixels: np.ndarray, shows: np.ndarray | None = None, mode: str | None = None, **options: object
) -> Write:
    """Pixels by Pillow; without `shows`, they are what it shows."""
    shown = pixels if shows is None else shows
    return showing(shown, lambda path: save(path, pixels, mode, **options))


def tiff(values: np.ndarray, shows: np.ndarray, **options: object) -> Write:
    return showing(shows, lambda path: tifffile.imwrite(path, values, **options))


def palette(shows: np.ndarray, **options: object) -> Write:
    image = Image.frombytes("P", (64, 48), NUMBERS.tobytes())
    image.putpalette(COLORS.tobytes())
    return showing(shows, lambda path: image.save(path, **options))


COLOR_ALPHA = np.linspace(0, 255, 16).round().astype(np.uint8)  # of each color of the palette
CASES = Path(__file__).parent / "decoding" / "cases"
# Profiles of grey displays: one of gamma 1.8, and one that shows L*, and its negative by the
# perceptual intent.
GREY_18 = (CASES / "grey_gamma_1.8.icc").read_bytes()
TWO_INTENTS = (CASES / "grey_of_two_intents.icc").read_bytes()
GAMMA_18 = round(1.8 * 256) / 256  # as profiles store it

KINDS: dict[str, Write] = {
    "jpeg": saved(RGB, **JPEG),
    "progressive_jpeg": saved(RGB, progressive=True, **JPEG),
    "subsampled_jpeg": saved(RGB, format="JPEG", quality=97, subsampling=2),
    "grey_jpeg": saved(GREY, **GREY_JPEG),
    "thin_jpeg": saved(sample(1, 300), **JPEG),
    "one_pixel_jpeg": saved(PIXEL, **JPEG),
    # Inverted, with an Adobe marker, as Photoshop writes it.
    "adobe_cmyk_jpeg": saved(CMYK, cmyk_shows(CMYK), "CMYK", **JPEG),
    "swapped_profile_jpeg": saved(RGB, RGB[..., ::-1], icc_profile=swapped_profile(), **JPEG),
    # As old Macintosh scans.
    "grey_profile_jpeg": saved(
        GREY, srgb_encode((GREY / 255) ** GAMMA_18), icc_profile=GREY_18, **GREY_JPEG
    ),
    "damaged_profile_jpeg": saved(RGB, icc_profile=b"no profile at all" * 20, **JPEG),
    "jpeg_with_damaged_exif": saved(
        RGB, exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x07" * 40, **JPEG
    ),
    "png": saved(RGB, format="PNG"),
    "grey_png": saved(GREY, format="PNG"),
    "one_bit_png": saved(GREY > 120, (GREY > 120).astype(np.uint8) * 255, format="PNG"),
    "one_pixel_png": saved(PIXEL, format="PNG"),
    "rgba_png": saved(np.dstack([RGB, ALPHA]), over_white(RGB, ALPHA), format="PNG"),
    "la_png": saved(np.dstack([GREY, ALPHA]), over_white(as_rgb(GREY), ALPHA), "LA", format="PNG"),
    "palette_png": palette(COLORS[NUMBERS], format="PNG"),
    "palette_alpha_png": palette(
        over_white(COLORS[NUMBERS], COLOR_ALPHA[NUMBERS]),
        format="PNG",
        transparency=COLOR_ALPHA.tobytes(),
    ),
    "swapped_profile_png": saved(RGB, RGB[..., ::-1], icc_profile=swapped_profile(), format="PNG"),
    "rgb16_png": showing(RGB, lambda path: write_png(path, DEEP)),
    "grey16_png": saved(DEEP_GREY, GREY, format="PNG"),
    "bmp": saved(RGB, format="BMP"),
    "grey16_pgm": showing(
        GREY,
        lambda path: path.write_bytes(b"P5\n64 48\n65535\n" + DEEP_GREY.astype(">u2").tobytes()),
    ),
    "webp": saved(RGB, format="WEBP", lossless=True),
    "rgba_webp": saved(
        np.dstack([RGB, ALPHA]), over_white(RGB, ALPHA), format="WEBP", lossless=True, exact=True
    ),
    "animated_gif": palette(
        COLORS[NUMBERS],
        format="GIF",
        save_all=True,
        append_images=[Image.new("RGB", (64, 48))],
        duration=100,
    ),
    "tiff": saved(RGB, format="TIFF", compression="tiff_lzw"),
    "cmyk_tiff": saved(CMYK, cmyk_shows(CMYK), "CMYK", format="TIFF"),  # not inverted
    "lab_tiff": saved(  # a grey ramp
        np.dstack([ALPHA, 0 * ALPHA, 0 * ALPHA]), lightness_shows(ALPHA), "LAB", format="TIFF"
    ),
    "grey16_tiff": tiff(DEEP_GREY, GREY),
    "grey16_big_endian_tiff": tiff(DEEP_GREY, GREY, byteorder=">"),
    "grey16_white_is_zero_tiff": tiff(65535 - DEEP_GREY, GREY, photometric="miniswhite"),
    "rgb16_tiff": tiff(DEEP, RGB, photometric="rgb"),
    "rgb16_planar_tiff": tiff(np.moveaxis(DEEP, -1, 0), RGB, photometric="rgb", planarconfig=2),
    "rgb_float_tiff": tiff((RGB / 255).astype(np.float32), RGB, photometric="rgb"),
    "rgba_float_tiff": tiff(
        (np.dstack([RGB, ALPHA]) / 255).astype(np.float32),
        over_white(RGB, ALPHA),
        photometric="rgb",
        extrasamples=["unassalpha"],
    ),
    "float_tiff": tiff((GREY / 255).astype(np.float32), GREY),
    "float255_tiff": tiff(GREY.astype(np.float32), GREY),
    "int32_tiff": tiff(GREY.astype(np.int32) * 257, GREY),  # 16 bits' worth
    # The whole range, of which the upper half looks negative as int32.
    "uint32_tiff": tiff(
        GREY.astype(np.uint32) * (2**32 // 255), (GREY / GREY.max() * 255).round().astype(np.uint8)
    ),
}


def write(kind: str, path: Path) -> np.ndarray:
    """Write one of KINDS, or of BROKEN; returns what it shows."""
    return (KINDS | BROKEN)[kind](path)


def encoded(kind: str, path: Path) -> bytes:
    write(kind, path)
    return path.read_bytes()


def write_truncated(path: Path, kind: str, share: float = 0.6) -> None:
    """Write a file's first part only."""
    whole = encoded(kind, path)
    path.write_bytes(whole[: int(len(whole) * share)])


def write_jpeg_with_damaged_middle(path: Path) -> None:
    """Data end early but with an end marker: decoders warn and continue."""
    whole = encoded("jpeg", path)
    path.write_bytes(whole[: len(whole) * 2 // 3] + b"\xff\xd9")


def write_bomb_jpeg(path: Path) -> None:
    """A header that says 60000 x 60000."""
    whole = encoded("jpeg", path)
    at = whole.index(b"\xff\xc0") + 5
    path.write_bytes(whole[:at] + struct.pack(">HH", 60000, 60000) + whole[at + 4 :])


BROKEN: dict[str, Callable[[Path], object]] = {
    "lab16_tiff": tiff(DEEP, RGB, photometric="cielab"),
    "empty": Path.touch,
    "text": lambda path: path.write_text("This is not an image.\n" * 50),
    "bomb_jpeg": write_bomb_jpeg,
    "jpeg_with_damaged_middle": write_jpeg_with_damaged_middle,
}
