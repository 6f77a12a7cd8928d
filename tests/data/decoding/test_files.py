"""Every kind of image against the written values or an independent reader."""

import os
import sys
import warnings

import numpy as np
import pillow_heif
import pytest
import tifffile
import torch
from PIL import Image, ImageFile, ImageOps, PngImagePlugin
from torchvision.transforms.v2 import functional as F

from lightning_colorize.color import to_eight_bits
from lightning_colorize.common.processes import quiet_decoders
from lightning_colorize.data.decoding import files
from lightning_colorize.data.decoding.colors import eight_bits, scale, srgb_transform
from lightning_colorize.data.decoding.files import (
    ImageError,
    Limits,
    read_bytes,
    read_header,
    read_image,
)
from lightning_colorize.data.decoding.metadata import XMP_TAG
from lightning_colorize.data.decoding.photograph import read_photograph
from tests.data import images
from tests.data.images import CASES

EXACT = [
    *("png", "bmp", "webp", "tiff", "grey_png", "one_bit_png", "one_pixel_png"),
    *("palette_png", "animated_gif"),
    *("grey16_png", "rgb16_png", "grey16_pgm", "grey16_tiff", "grey16_big_endian_tiff"),
    *("grey16_white_is_zero_tiff", "rgb16_tiff", "rgb16_planar_tiff"),
    *("rgb_float_tiff", "float_tiff", "float255_tiff", "int32_tiff"),
]
ROUNDED = [
    *("rgba_png", "rgba_webp", "la_png", "palette_alpha_png", "cmyk_tiff", "lab_tiff"),
    *("rgba_float_tiff", "uint32_tiff", "swapped_profile_png"),
]
JPEGS = [
    *("jpeg", "progressive_jpeg", "grey_jpeg", "jpeg_with_damaged_exif"),
    *("one_pixel_jpeg", "thin_jpeg", "grey_profile_jpeg", "damaged_profile_jpeg"),
]
OTHER_JPEGS = {"adobe_cmyk_jpeg": 5, "subsampled_jpeg": 8, "swapped_profile_jpeg": 5}

BOMB = "3,600,000,000 pixels, more than 268,435,456; colorize --max-pixels accepts it"

# The largest difference allowed, in levels of 255.
TOLERANCES = (
    dict.fromkeys(EXACT, 0) | dict.fromkeys(ROUNDED, 1) | dict.fromkeys(JPEGS, 4) | OTHER_JPEGS
)


def header_size(path):
    """Height and width of the upright image."""
    return read_header(read_bytes(path), path)[:2]


def difference(image: torch.Tensor, expected: np.ndarray) -> int:
    assert image.dtype == torch.uint8
    assert image.shape == (3, *expected.shape[:2])
    return int(np.abs(image.permute(1, 2, 0).numpy().astype(int) - expected).max())


@pytest.mark.parametrize(("kind", "tolerance"), TOLERANCES.items())
def test_every_kind_is_read_as_written(tmp_path, kind, tolerance):
    path = tmp_path / "image"
    expected = images.write(kind, path)
    image = read_image(path)
    assert difference(image, expected) <= tolerance
    image.zero_()  # it is writable
    assert difference(read_image(path, min_side=48), expected) <= tolerance
    assert header_size(path) == expected.shape[:2]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, format, orientation):
    path = tmp_path / "image"
    expected = images.write_oriented(path, orientation, format)
    stored = Image.open(path)
    stored_upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB")).astype(int)
    assert np.abs(stored_upright - expected).max() <= 4, "the fixture disagrees with Pillow"
    assert difference(read_image(path), expected) <= 4
    assert header_size(path) == expected.shape[:2]
    if format == "JPEG":
        reduced = np.asarray(Image.fromarray(expected).reduce(2))
        assert difference(read_image(path, min_side=24), reduced) <= 4


@pytest.mark.parametrize("notation", ['a="{}"', "a='{}'", 'a = "{}"', "<a>{}</a>", "<a> {} </a>"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "deep TIFF"])
def test_xmp_orientation_without_exif(tmp_path, format, notation):
    path = tmp_path / "image"
    upright = images.sample()
    for orientation in range(1, 9):
        stored = images.stored_pixels(upright, orientation)
        content = notation.replace("a", "tiff:Orientation").format(orientation)
        content = content if content.startswith("<") else f"<b {content}/>"
        xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{content}</x:xmpmeta>'.encode()
        if format == "deep TIFF":
            tags = [(XMP_TAG, "B", len(xmp), xmp, True)]
            tifffile.imwrite(path, stored * np.uint16(257), photometric="rgb", extratags=tags)
        else:
            text = PngImagePlugin.PngInfo()
            text.add_itxt("XML:com.adobe.xmp", xmp.decode())
            where = {"PNG": {"pnginfo": text}, "TIFF": {"tiffinfo": {XMP_TAG: xmp}}}
            lossless = {"JPEG": images.JPEG, "WEBP": {"lossless": True}}.get(format, {})
            options = {"format": format, **where.get(format, {"xmp": xmp}), **lossless}
            images.save(path, stored, **options)
        assert difference(read_image(path), upright) <= 4
        assert header_size(path) == upright.shape[:2]
        rgb = read_photograph(path.read_bytes(), path).rgb
        assert difference(to_eight_bits(rgb), upright) <= 4


@pytest.mark.parametrize(
    ("size", "min_side", "expected"),
    [
        ((375, 500), 256, (375, 500)),
        ((511, 700), 256, (511, 700)),
        ((512, 701), 256, (256, 351)),
        ((1024, 1040), 256, (256, 260)),
        ((1100, 1000), 120, (138, 125)),
        ((900, 30), 256, (900, 30)),
        ((600, 200), 1, (75, 25)),
    ],
)
def test_min_side_reduces_jpegs(tmp_path, size, min_side, expected):
    path = tmp_path / "image.jpg"
    images.save(path, images.sample(*size), format="JPEG")
    image = read_image(path, min_side=min_side)
    assert image.shape[1:] == expected
    assert min(image.shape[1:]) >= min(min_side, *size)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_reduced_decoding_equals_decoding_and_reducing(tmp_path, options):
    path = tmp_path / "image.jpg"
    noise = np.random.default_rng(0).normal(0, 6, (800, 1200, 3))
    textured = (images.sample(800, 1200) + noise).clip(0, 255).astype(np.uint8)
    images.save(path, textured, format="JPEG", quality=90, **options)
    reduced = read_image(path, min_side=100)
    assert reduced.shape == (3, 100, 150)
    full = F.resize(read_image(path), [100, 150], antialias=True)
    error = (reduced.float() - full.float()).abs()
    assert error.mean() < 1.5
    assert error.max() <= 12


def test_grey_profile_of_transparent_images(tmp_path):
    path = tmp_path / "image.png"
    grey, alpha = images.GREY, images.ALPHA
    images.save(path, np.dstack([grey, alpha]), "LA", format="PNG", icc_profile=images.GREY_18)
    flat = images.over_white(images.as_rgb(grey), alpha)
    expected = images.srgb_encode((flat / 255) ** images.GAMMA_18)
    assert difference(read_image(path), expected) <= 2


def test_profiles_are_converted_by_the_colorimetric_intent(tmp_path):
    path = tmp_path / "image.png"
    images.save(path, images.GREY, format="PNG", icc_profile=images.TWO_INTENTS)
    assert difference(read_image(path), images.lightness_shows(images.GREY)) <= 4


def test_srgb_profiles_are_not_converted():
    assert srgb_transform(images.srgb_profile(), "RGB") is None
    assert srgb_transform(images.swapped_profile(), "RGB") is not None


def test_a_profile_for_another_mode_is_ignored(tmp_path):
    path = tmp_path / "image.jpg"
    profile = images.swapped_profile()
    images.save(path, images.GREY, format="JPEG", quality=97, icc_profile=profile)
    assert difference(read_image(path), images.as_rgb(images.GREY)) <= 4


@pytest.mark.parametrize(
    "kind",
    [
        *("jpeg", "grey_jpeg", "adobe_cmyk_jpeg", "swapped_profile_jpeg", "png"),
        *("bmp", "webp", "tiff", "grey16_tiff", "rgb_float_tiff", "grey16_pgm"),
        *("grey16_png", "rgb16_png"),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.85])
def test_truncated_files_are_broken(tmp_path, kind, share):
    path = tmp_path / "image"
    images.write_truncated(path, kind, share)
    with pytest.raises(ImageError):
        read_image(path)
    with pytest.raises(ImageError):
        read_photograph(path.read_bytes(), path)


@pytest.mark.parametrize("min_side", [None, 8])
@pytest.mark.parametrize("missing", [20, 1000])
def test_truncated_jpegs_have_that_reason(tmp_path, min_side, missing):
    path = tmp_path / "image.jpg"
    path.write_bytes(images.encoded("jpeg", path)[:-missing])
    with pytest.raises(ImageError, match=r"image\.jpg: truncated: the file is incomplete, copy"):
        read_image(path, min_side)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        *(("empty", "empty file"), ("text", "not an image"), ("bomb_jpeg", BOMB)),
        ("lab16_tiff", "a TIFF of CIELAB, not grey or RGB: save it as RGB"),
    ],
)
@pytest.mark.parametrize("call", [read_image, header_size])
def test_broken_files_have_a_reason(tmp_path, kind, reason, call):
    path = tmp_path / "image.jpg"
    images.write(kind, path)
    with pytest.raises(ImageError) as caught:
        call(path)
    assert (caught.value.path, caught.value.reason) == (path, reason)
    assert str(caught.value) == f"{path}: {reason}"


def test_large_images_in_tiny_files_are_rejected_before_they_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    Image.new("1", (7000, 6000)).save(path)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    message = (
        f"42,000,000 pixels in {path.stat().st_size:,} bytes, more than 100 for each: "
        "save it uncompressed; colorize --max-density accepts it"
    )
    for call in (read_image, header_size):
        with pytest.raises(ImageError) as caught:
            call(path)
        assert caught.value.reason == message


def test_jpegs_of_many_empty_scans_are_rejected_before_they_are_decoded(tmp_path):
    path = tmp_path / "image.jpg"
    Image.new("L", (16, 16)).save(path, progressive=True)
    data = path.read_bytes()
    path.write_bytes(data[:-2] + 300 * data[data.rindex(b"\xff\xda") : -2] + data[-2:])
    with pytest.raises(ImageError, match="more than 200 scans"):
        header_size(path)


@pytest.mark.parametrize("kind", ["png", "rgb_float_tiff", "rgb16_planar_tiff"])
def test_both_limits_hold_for_every_reader(tmp_path, monkeypatch, kind):
    data = images.encoded(kind, tmp_path / "image")
    monkeypatch.setattr(files, "_LARGE", 1000)
    with pytest.raises(ImageError, match=r"3,072 pixels in .* bytes, more than 0 for each"):
        read_photograph(data, tmp_path / "image", Limits(density=0))
    with pytest.raises(ImageError, match=r"3,072 pixels, more than 1,000; colorize --max-pixels"):
        read_photograph(data, tmp_path / "image", Limits(pixels=1000))


def test_only_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    reasons = dict.fromkeys(("pipe.jpg", "link.jpg", "device.jpg"), "not a regular file")
    reasons |= {"none.jpg": "No such file or directory", "": "Is a directory"}
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=rf"{name}: {reason}$"):
            read_image(tmp_path / name)


def test_damage_within_a_jpeg_is_tolerated(tmp_path):
    images.write_jpeg_with_damaged_middle(tmp_path / "image.jpg")
    top = read_image(tmp_path / "image.jpg")[:, :16]
    assert difference(top, images.sample()[:16]) <= 4


@pytest.mark.parametrize(
    ("name", "size", "mean", "note"),
    [
        ("bmp32_alpha_zero.bmp", (60, 80), 127, ["transparency ignored: alpha is 0 everywhere"]),
        ("ga8_planar.tif", (60, 80), 121, []),
    ],
)
def test_files_that_once_failed(name, size, mean, note):
    photograph = read_photograph((CASES / name).read_bytes(), CASES / name)
    assert photograph.alpha is None
    assert photograph.notes == tuple(note)
    for rgb in (read_image(CASES / name), photograph.rgb):
        assert rgb.shape[1:] == size
        assert rgb.float().mean() == pytest.approx(mean, abs=1)


def test_no_library_prints_warnings(tmp_path, capfd):
    for kind in ("jpeg_with_damaged_middle", "jpeg_with_damaged_exif", "text", "palette_alpha_png"):
        images.write(kind, tmp_path / kind)
    images.write_truncated(tmp_path / "truncated_tiff", "tiff")
    images.write_truncated(tmp_path / "truncated_float", "rgb_float_tiff")
    images.write_truncated(tmp_path / "truncated_jpeg", "jpeg")
    images.write_truncated(tmp_path / "truncated_png", "png")
    Image.new("1", (10000, 10000)).save(tmp_path / "large", "PNG")  # Pillow would warn
    reasons = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        quiet_decoders()
        for path in sorted(tmp_path.iterdir()):
            try:
                header_size(path)
                if path.name != "large":
                    read_image(path)
            except ImageError as error:
                reasons.append(error.reason)
    assert warned == []
    assert capfd.readouterr() == ("", "")
    assert sum(reason.startswith("truncated") for reason in reasons) == 2  # of JPEG and PNG
    assert "not an image" in reasons


def test_deep_values_are_scaled_without_clipping():
    def scaled(values):
        return eight_bits(scale(np.array(values))[0]).tolist()

    assert scaled(np.uint16([0, 128, 129, 65535])) == [0, 0, 1, 255]
    assert scaled(np.uint16([0, 300, 65535])) == [0, 1, 255]
    assert scaled(np.float32([-0.01, 0, 0.5, 1, np.nan, np.inf])) == [0, 0, 128, 255, 0, 255]
    assert scaled(np.float32([0, 0.5, 1.25])) == [0, 102, 255]
    assert scaled(np.float32([0, 100, 200])) == [0, 100, 200]
    assert scaled(np.int32([0, 257, 40000])) == [0, 1, 156]
    assert scaled(np.uint32([0, 1])) == [0, 255]
    assert scaled(np.int32([0, 500_000, 2_000_000])) == [0, 64, 255]


def test_heic_is_read_with_its_extra(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    pillow_heif.from_pillow(Image.fromarray(images.sample())).save(path, quality=100)
    assert read_image(path).shape == torch.Size((3, *images.sample().shape[:2]))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"HEIC needs pillow_heif: uv run --extra heif .*"):
        read_image(path)
