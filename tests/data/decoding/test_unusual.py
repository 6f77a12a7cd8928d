"""Files that mislead a library: which image of several, ranges, alpha, resolution, the end."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from lightning_colorize.data.decoding.files import ImageError, decode_image, read_header
from lightning_colorize.data.decoding.photograph import EMPTY_ALPHA, read_photograph
from lightning_colorize.inference.writing import fit_format, write_photograph
from tests.data import images

RGB, GREY = images.RGB, images.GREY
SMALL, SHARE = RGB[::4, ::4].copy(), np.tile(np.linspace(0, 1, 64), (48, 1))  # 0 to 1
THUMB = {"subfiletype": 1}
FIRST, SECOND = "the first of several images", "image 2 of 2: the largest that is not blank"
FRAME = "image 2 of 3: those before are blank"


def _tiff(*pages, **options):
    """Encode a TIFF of pages: values, and options of tifffile."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as tiff:
        for values, of_page in pages:
            tiff.write(values, metadata=None, **({"photometric": "rgb"} | of_page))
    return file.getvalue()


def _grey(values, **options):
    return _tiff((values, {"photometric": "minisblack"} | options))


def _without(data, tag, kind):
    """Give a tag of a little-endian TIFF a number that nothing reads."""
    return data.replace(struct.pack("<HH", tag, kind), struct.pack("<HH", 65000, kind))


def _saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _read(data):
    """Read as `colorize` does, and as training does; they agree."""
    photograph, trained = read_photograph(data, Path("a")), decode_image(data, Path("a"))
    assert read_header(data, Path("a"))[:2] == tuple(trained.shape[1:])
    assert (photograph.over_white().to_eight_bits().rgb.int() - trained.int()).abs().max() <= 1
    return trained.permute(1, 2, 0).numpy(), list(photograph.notes), photograph


SUB = (SMALL, THUMB | {"subifds": 1})
BLANK = np.full_like(RGB, 255)
MASK = (np.zeros((99, 99), bool), {"photometric": 4, "subfiletype": 4})


@pytest.mark.parametrize(
    ("pages", "options", "note"),
    [
        ([(SMALL, THUMB), (RGB, {})], {}, SECOND),
        ([(SMALL, {}), (RGB, {})], {}, SECOND),
        ([SUB, (RGB, {})], {"byteorder": ">"}, SECOND),
        ([SUB, (RGB, {})], {"bigtiff": True}, SECOND),
        ([SUB, (images.DEEP, {})], {}, SECOND),
        ([SUB, ((RGB / 255).astype(np.float32), {})], {}, SECOND),
        ([MASK, (RGB, {})], {}, SECOND),
        ([(BLANK, {}), (RGB, {})], {}, SECOND),
        ([(RGB, {}), (BLANK, {})], {}, FIRST),
        ([(RGB, {"subifds": 1}), (SMALL, THUMB)], {}, None),  # a pyramid
    ],
)
def test_the_largest_image_of_a_tiff_is_read(pages, options, note):
    rgb, notes, _ = _read(_tiff(*pages, **options))
    np.testing.assert_array_equal(rgb, RGB)
    assert notes[:1] == [note] * (note is not None)


def test_raw_data_is_to_be_developed():
    cfa, linear = (images.DEEP_GREY, {"photometric": 32803}), (images.DEEP, {"photometric": 34892})
    tiffs = [_tiff(*pages) for pages in ([cfa], [linear], [SUB, cfa])]
    for data in (*tiffs, (images.CASES / "dng_preview_first.dng").read_bytes()):
        with pytest.raises(ImageError, match="raw data of a camera: develop it"):
            decode_image(data, Path("image.tif"))


@pytest.mark.parametrize("color", ["#fff", "#0000"])
@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF"])
def test_blank_frames_are_skipped(form, color):
    frames = [Image.fromarray(RGB).convert("RGBA"), Image.fromarray(RGB[::-1]).convert("RGBA")]
    blank = Image.new("RGBA", (64, 48), color)
    options = {"save_all": True, "duration": 100, "lossless": True}
    rgb, notes, _ = _read(_saved(blank, form, append_images=frames, **options))
    assert np.abs(rgb.astype(int) - RGB).mean() < 8  # a GIF has 256 colors
    assert notes == [FRAME]
    assert _read(_saved(blank, form, append_images=[blank], **options))[0].std() == 0


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (_grey((SHARE * (2**32 - 1)).astype(np.uint32)), "0 (black) to 4.29497e+09"),
        (_grey((SHARE * 20_000).astype(np.uint32)), "0 (black) to 20000"),
        (_grey((SHARE * 65_535 - 32_768).astype(np.int16)), "-32768 (black) to 32767"),
        (_grey((SHARE * 255 - 128).round().astype(np.int8)), "-128 (black) to 127"),
        (_grey((SHARE * 100).astype(np.float32)), "0 (black) to 100"),
        (_grey((SHARE * 4095).astype(np.uint16)), "0 (black) to 4095"),
        (_tiff((np.dstack([SHARE * 16383] * 3).astype(np.uint16), {})), "0 (black) to 16383"),
        (_tiff((np.dstack([SHARE * 100] * 3).astype(np.float32), {})), "0 (black) to 100"),
        (_grey((1 - SHARE).astype(np.float32), photometric=0), ""),
        (_grey(1 - SHARE, photometric=0), ""),
        (_without(_grey((SHARE * 255).round().astype(np.uint8)), 262, 3), ""),
    ],
)
def test_values_are_scaled_to_their_range(data, note):
    rgb, notes, _ = _read(data)
    assert np.abs(rgb - 255 * SHARE[..., None]).max() <= 1
    assert note in notes[0] if note else "scaled" not in str(notes)


def test_a_declared_range_is_kept():
    declared = [(340, "f", 1, 0.0, True), (341, "f", 1, 80.0, True)]
    rgb, notes, _ = _read(_grey((20 + 40 * SHARE).astype(np.float32), extratags=declared))
    assert (rgb.min(), rgb.max()) == (64, 191)
    assert notes[0] == "scaled from 0 (black) to 80 (white)"


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG2000", "deep", "float"])
def test_alpha_that_is_0_everywhere_is_opaque(form):
    rgba = np.dstack([RGB, 0 * GREY])
    values = {"deep": rgba.astype(np.uint16) * 257, "float": (rgba / 255).astype(np.float32)}
    if form in values:
        data = _tiff((values[form], {"extrasamples": ["unassalpha"]}))
    else:
        data = _saved(Image.fromarray(rgba), form, lossless=True, exact=True)
    rgb, notes, photograph = _read(data)
    np.testing.assert_array_equal(rgb, RGB)
    assert (photograph.alpha, notes[-1]) == (None, EMPTY_ALPHA)


@pytest.mark.parametrize("kind", ["baseline", "progressive", "padded", "CMYK"])
def test_a_jpeg_without_its_end_marker_is_whole(kind):
    image = Image.fromarray(RGB).convert("CMYK" if kind == "CMYK" else "RGB")
    data = _saved(image, "JPEG", quality=95, progressive=kind == "progressive")
    rgb, notes, _ = _read(data[:-2] + bytes(9) * (kind == "padded"))
    np.testing.assert_array_equal(rgb, _read(data)[0])
    assert notes == []


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".png", ".tif"])
def test_a_resolution_that_no_tag_declares_is_none(tmp_path, suffix):
    image = Image.fromarray(RGB)
    centimeters = _tiff((RGB, {"resolution": (118, 118), "resolutionunit": "centimeter"}))
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "me"
    without = _saved(image, "JPEG", exif=exif.tobytes())
    exif.update({282: 300.0, 283: 300.0, 296: 2})
    for data, dpi in (
        (_saved(image, "TIFF"), None),
        (_tiff((RGB, {})), None),
        (_without(_without(centimeters, 282, 5), 283, 5), None),  # the unit alone
        (without, None),
        (centimeters, 299.72),
        (_saved(image, "JPEG", exif=exif.tobytes()), 300),
        (_saved(image, "JPEG", dpi=(300, 300)), 300),
    ):
        photograph = _read(data)[2]
        assert photograph.metadata.dpi == (dpi and pytest.approx((dpi, dpi)))
        fitted, lost = fit_format(photograph, tmp_path / f"a{suffix}")
        assert ("resolution dropped" in lost) == (dpi is not None and suffix == ".webp")
        write_photograph(fitted, tmp_path / f"a{suffix}")
        if dpi is None:
            with Image.open(tmp_path / f"a{suffix}") as written:
                assert not any(written.info.get("dpi", ()))


def test_unusual_tiffs_keep_their_metadata():
    metadata = _read(_grey(SHARE, extratags=[(315, "s", 0, "me", True)]))[2].metadata
    assert (metadata.exif[ExifTags.Base.Artist], metadata.lost) == (b"me", ())
