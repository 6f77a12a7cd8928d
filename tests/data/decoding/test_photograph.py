"""Depth, transparency and metadata of the files that `colorize` reads."""

import io
import os
import random
import resource
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.decoding.photograph import Photograph, read_photograph
from tests.data import images
from tests.data.images import png_chunk, srgb_profile, swapped_profile, write_png

# More by hand after a change of the decoders, such as 10000.
_MUTATIONS = int(os.environ.get("LC_MUTATIONS", "2000"))


def _read(data):
    return read_photograph(data, Path("image"))


def _notes(data):
    return list(_read(data).notes)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (
            [
                *("jpeg", "png", "palette_png", "tiff", "webp", "cmyk_tiff", "grey16_png"),
                *("rgb16_png", "grey16_pgm", "grey16_tiff", "rgb16_tiff", "rgb16_planar_tiff"),
                *("rgba_png", "la_png", "palette_alpha_png", "rgba_webp"),
            ],
            [],
        ),
        (["float_tiff", "rgb_float_tiff"], ["reduced to 8 bits"]),
        (["animated_gif"], ["the first of several images"]),
    ],
)
def test_what_is_given_up_is_named(tmp_path, kinds, expected):
    for kind in kinds:
        assert _notes(images.encoded(kind, tmp_path / "image")) == expected, kind


def _tiff(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"photometric": "rgb"} | options)
    return file.getvalue()


def _pillow(values, form, **options):
    file = io.BytesIO()
    Image.fromarray(values).save(file, form, **options)
    return file.getvalue()


def _deep(channels):
    """Return values of 16 bits, most of them between those of 8 bits."""
    values = np.random.default_rng(0).integers(0, 65536, (13, 17, channels), dtype=np.uint16)
    return values[..., 0] if channels == 1 else values


def _grey_to_rgb(values):
    return np.stack([values] * 3)


def test_sixteen_bits_are_kept(tmp_path):
    grey, rgb, rgba = (_deep(channels) for channels in (1, 3, 4))
    pngs = [
        (_deep_png(tmp_path / "image.png", _deep(channels), interlaced=interlaced), channels)
        for channels in (2, 3, 4)
        for interlaced in (False, True)
    ]
    cases = [
        (_pillow(grey, "PNG"), _grey_to_rgb(grey)),
        (_pillow(grey, "TIFF", compression="tiff_lzw"), _grey_to_rgb(grey)),
        (b"P5 17 13 65535 " + grey.astype(">u2").tobytes(), _grey_to_rgb(grey)),
        (_pillow(np.int32(grey // 2), "TIFF"), None),
        (_tiff(grey[None], photometric="minisblack"), _grey_to_rgb(grey)),
        (_tiff(grey, photometric="miniswhite"), _grey_to_rgb(65535 - grey)),
        (_tiff(rgb, photometric="rgb", compression="zlib"), rgb.transpose(2, 0, 1)),
        (_tiff(rgba, photometric="rgb", extrasamples=["unassalpha"]), rgba.transpose(2, 0, 1)),
        (_tiff(rgb, iccprofile=srgb_profile()), rgb.transpose(2, 0, 1)),
        (_tiff(rgb, iccprofile=swapped_profile()), None),
        *[(png, _deep(n).transpose(2, 0, 1)[[0, 0, 0, 1] if n == 2 else ...]) for png, n in pngs],
    ]
    for data, expected in cases:
        photograph = _read(data)
        if expected is None:
            assert photograph.notes[-1] == "reduced to 8 bits"
            assert photograph.most == 255
        else:
            assert photograph.notes == ()
            planes = (photograph.rgb, photograph.alpha)
            read = np.concatenate([plane for plane in planes if plane is not None])
            np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("exif", range(1, 9))
def test_deep_and_transparent_images_are_upright(exif):
    """Against the 8-bit reader, which is tested against Pillow's."""
    smooth = np.linspace(0, 65535, 13 * 17).reshape(13, 17).round().astype(np.uint16)
    block = Image.Exif()
    block[0x0112] = exif
    deep = _read(_pillow(smooth, "PNG", exif=block.tobytes()))
    shallow = _read(_pillow((smooth / 257).round().astype(np.uint8), "PNG", exif=block.tobytes()))
    assert deep.most == 65535
    np.testing.assert_array_equal(deep.to_eight_bits().rgb, shallow.rgb)
    seen_through = np.dstack([(smooth / 257).astype(np.uint8)] * 4)
    photograph = _read(_pillow(seen_through, "PNG", exif=block.tobytes()))
    np.testing.assert_array_equal(photograph.alpha[0], photograph.rgb[0])
    assert photograph.rgb.shape == shallow.rgb.shape


def test_transparency_keeps_the_colors_below_it(tmp_path):
    for kind in ("rgba_png", "la_png", "palette_alpha_png"):
        data = images.encoded(kind, tmp_path / "image")
        photograph = _read(data)
        rgba = Image.open(io.BytesIO(data)).convert("RGBA")
        np.testing.assert_array_equal(photograph.rgb, pil_to_tensor(rgba.convert("RGB")))
        np.testing.assert_array_equal(photograph.alpha[0], np.asarray(rgba.getchannel("A")))
        white = Image.new("RGBA", rgba.size, "white")
        flat = pil_to_tensor(Image.alpha_composite(white, rgba).convert("RGB")).int()
        assert (photograph.over_white().rgb - flat).abs().max() <= 1
    opaque = Image.fromarray(images.sample()).convert("RGBA")
    assert _read(_pillow(np.array(opaque), "PNG")).alpha is None


def _with_chunks(png, *chunks):
    """Return a PNG with more chunks after its header."""
    return png[:33] + b"".join(png_chunk(*chunk) for chunk in reversed(chunks)) + png[33:]


def _deep_png(path, values, *chunks, interlaced=False):
    write_png(path, values, interlaced=interlaced)
    return _with_chunks(path.read_bytes(), *chunks)


def test_transparency_is_kept_where_sixteen_bits_are_not(tmp_path):
    rgba = _deep(4)
    alpha, shallow = rgba[..., 3:].astype(np.int64), rgba[..., :3] / 257
    profile = (b"iCCP", b"swapped\0\0" + zlib.compress(swapped_profile()))
    straight = [
        _read(_tiff(rgba, extrasamples=["unassalpha"], iccprofile=swapped_profile())),
        _read(_deep_png(tmp_path / "rgba.png", rgba, profile)),
    ]
    for photograph in straight:
        assert np.abs(photograph.rgb.numpy()[::-1].transpose(1, 2, 0) - shallow).max() <= 1
    seen = (rgba[..., :3] * alpha // 65535).astype(np.uint16)
    premultiplied = _read(
        _tiff(np.dstack([seen, rgba[..., 3]]), photometric="rgb", extrasamples=["assocalpha"])
    )
    clear = rgba[..., 3] > 2**15
    assert np.abs(premultiplied.rgb.numpy().transpose(1, 2, 0) - shallow)[clear].max() <= 3
    for photograph in (*straight, premultiplied):
        assert photograph.notes == ("reduced to 8 bits",)
        assert np.abs(photograph.alpha.numpy()[0] - alpha[..., 0] / 257).max() <= 1


def test_a_transparent_color_of_sixteen_bits_is_kept(tmp_path):
    grey, rgb = _deep(1), _deep(3)
    rgb[3, 5] = rgb[7, 2]
    grey[3, 5] = grey[7, 2]
    rgb[8, 8] = rgb[7, 2] ^ 1  # the same color at 8 bits
    grey[8, 8] = grey[7, 2] ^ 1
    profile = (b"iCCP", b"swapped\0\0" + zlib.compress(swapped_profile()))
    for values, png, expected in (
        (rgb, _deep_png(tmp_path / "rgb.png", rgb), rgb.transpose(2, 0, 1)),
        (grey, _pillow(grey, "PNG"), _grey_to_rgb(grey)),
    ):
        key = (b"tRNS", values[7, 2:3].astype(">u2").tobytes())
        photograph = _read(_with_chunks(png, key))
        assert photograph.notes == ()
        np.testing.assert_array_equal(photograph.rgb, expected)
        transparent = [[3, 5], [7, 2]]
        np.testing.assert_array_equal(np.argwhere(photograph.alpha[0].numpy() == 0), transparent)
        assert set(np.unique(photograph.alpha)) == {0, 65535}
    key = (b"tRNS", rgb[7, 2:3].astype(">u2").tobytes())
    converted = _read(_deep_png(tmp_path / "rgb.png", rgb, key, profile))
    assert converted.notes == ("reduced to 8 bits", "transparent color dropped")
    assert converted.alpha is None
    assert np.abs(converted.rgb.numpy()[::-1].transpose(1, 2, 0) - rgb / 257).max() <= 1


@pytest.mark.parametrize("options", [{}, {"icc_profile": swapped_profile()}, {"mode": "CMYK"}])
def test_damage_inside_a_jpeg_is_named(tmp_path, options):
    channels = len(options.get("mode", "RGB"))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, channels), dtype=np.uint8)
    images.save(tmp_path / "a.jpg", noise, **options)
    whole = (tmp_path / "a.jpg").read_bytes()
    assert _notes(whole) == []
    half = len(whole) // 2
    assert _notes(whole[:half] + b"\1\2\3" * 30 + whole[half:]) == ["damaged JPEG data"]


def test_over_white_at_sixteen_bits():
    rgb = torch.full((3, 1, 2), 10_000).to(torch.uint16)
    alpha = torch.tensor([[[0, 65535]]]).to(torch.uint16)
    flat = Photograph(rgb, alpha).over_white()
    assert flat.alpha is None
    assert flat.rgb.int()[0].tolist() == [[65535, 10_000]]


def test_damaged_files_are_errors(tmp_path):
    """Neither a crash nor a long wait, nor much memory."""
    kinds = [
        *("jpeg", "png", "tiff", "webp", "animated_gif", "palette_alpha_png", "rgba_webp"),
        *("grey16_png", "rgb16_png", "grey16_tiff", "rgb16_tiff", "float_tiff", "cmyk_tiff"),
        *("rgb_float_tiff", "swapped_profile_jpeg"),
    ]
    whole = {kind: images.encoded(kind, tmp_path / "image") for kind in kinds}
    rng = random.Random(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failed = 0
    for index in range(_MUTATIONS):
        data = bytearray(whole[kinds[index % len(kinds)]])
        for _ in range(rng.choice([1, 2, 8, 64])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        if rng.random() < 0.2:
            start = rng.randrange(max(1, len(data)))
            data[start:start] = rng.randbytes(rng.randrange(1, 50))
        path = tmp_path / "image.png"
        start = time.monotonic()
        try:
            read_photograph(bytes(data), path)
        except ImageError:
            failed += 1
        assert time.monotonic() - start < 5, index
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2**20  # in kB
    assert 0.2 * _MUTATIONS < failed < _MUTATIONS
