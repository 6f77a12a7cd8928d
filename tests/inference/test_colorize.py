import errno
import hashlib
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image

from lightning_colorize.color import to_lab
from lightning_colorize.common.errors import WorkError
from lightning_colorize.data.decoding.metadata import iptc_segment
from lightning_colorize.data.decoding.photograph import read_photograph
from lightning_colorize.inference import Job, Options, colorize_files, load_model
from lightning_colorize.inference import colorize as module
from lightning_colorize.inference.colorize import open_manifest
from tests.conftest import read_lines
from tests.distributed.launchers import fork, kill_group


@pytest.fixture(scope="module")
def loaded(finished_run):
    return load_model(finished_run).model


# A nightly run raises it to 10.
_KILLS = int(os.environ.get("LC_KILLS", "2"))
_IMAGES = max(60, 20 * _KILLS)


def _pixels(height=37, width=51, channels=3):
    y, x, c = np.mgrid[:height, :width, :channels]
    return (30 + 180 * ((x + 2 * y + 9 * c) % 40) / 40).astype(np.uint8)


def _colorize(loaded, *jobs, manifest=None, **options):
    jobs = [Job(*job) for job in jobs]
    return list(colorize_files(loaded, jobs, Options(**options), manifest))


@pytest.fixture
def photo(tmp_path):
    """An image of 51 x 37 pixels."""
    Image.fromarray(_pixels()).save(file := tmp_path / "a.png")
    return file


def test_manifest_has_a_line_per_image_and_broken_ones_are_skipped(loaded, photo, tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff not a photograph")
    Image.fromarray(_pixels(40, 4)).save(tmp_path / "c.png")
    jobs = [(tmp_path / name, tmp_path / "out" / name) for name in ("a.png", "b.jpg", "c.png")]
    _colorize(loaded, *jobs, manifest=tmp_path / "out")
    lines = read_lines(tmp_path / "out/manifest.jsonl")
    a, b, c = sorted(lines, key=lambda line: line["input"])
    assert list(a) == [
        "input", "output", "status", "reason", "width", "height",
        "model", "size", "seconds", "fallbacks", "specialist",
        "samples", "seed", "settings", "control",
    ]  # fmt: skip
    assert a["input"] == str(photo)
    assert a["output"] == str(tmp_path / "out/a.png")
    assert (a["status"], a["width"], a["height"], a["size"]) == ("ok", 51, 37, 32)
    assert a["model"] == str(loaded.path)
    assert 0 < a["seconds"] < 60
    assert (b["status"], b["width"]) == ("failed", None)
    assert b["reason"]
    assert not (tmp_path / "out/b.jpg").exists()
    assert (c["status"], c["fallbacks"]) == ("ok", ["seen at 12 px because of its aspect ratio"])


def test_depth_and_transparency_are_kept_where_the_format_can(loaded, tmp_path):
    pixels = _pixels(channels=4)
    pixels[..., 3] = 7
    deep = _pixels()[..., 0].astype(np.uint16) * 257 + 100
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    for suffix in (".png", ".tif", ".webp", ".jpg", ".BMP"):
        jobs = [(tmp_path / f"{n}.png", tmp_path / f"{n}-out{suffix}") for n in ("deep", "rgba")]
        fallbacks = [record.fallbacks for record in _colorize(loaded, *jobs)]
        keeps_depth = suffix in (".png", ".tif")
        assert fallbacks[0] == ["reduced to 8 bits"] * (not keeps_depth)
        written = read_photograph(jobs[0][1].read_bytes(), jobs[0][1])
        assert (written.rgb.dtype == torch.uint16) == keeps_depth
        (L,), (L_hat,) = (to_lab(p.rgb[None])[0] for p in (_read(jobs[0][0]), written))
        assert (L - L_hat).abs().mean() < (0.001 if keeps_depth else 2)
        assert fallbacks[1] == ["transparency composited over white"] * (suffix in (".jpg", ".BMP"))
        written = read_photograph(jobs[1][1].read_bytes(), jobs[1][1])
        if suffix in (".jpg", ".BMP"):
            assert written.rgb.float().mean() > 240
        else:
            assert (written.alpha == 7).all()


def _read(path):
    return read_photograph(path.read_bytes(), path)


@pytest.mark.parametrize(
    ("suffix", "lost"),
    [
        *((suffix, []) for suffix in (".jpg", ".png")),
        (".tif", ["part of EXIF dropped"]),
        (".webp", ["resolution dropped"]),
        (".bmp", ["EXIF dropped"]),
    ],
)
@pytest.mark.parametrize("source", ["a.jpg", "a.tif", "a.png"])
def test_metadata_is_kept_or_named(loaded, tmp_path, source, suffix, lost):
    exif = Image.Exif()
    exif[ExifTags.Base.Copyright], exif[ExifTags.Base.Orientation] = "me", 6
    exif[ExifTags.Base.Artist] = "Zoë".encode()
    block = exif.get_ifd(ExifTags.IFD.Exif)
    block[ExifTags.Base.DateTimeOriginal] = "1901:02:03 04:05:06"
    # As cameras write Adobe RGB.
    block |= {ExifTags.Base.ColorSpace: 65535, ExifTags.IFD.Interop: {1: "R03"}}
    Image.fromarray(_pixels()).save(tmp_path / source, exif=exif.tobytes(), dpi=(300, 300))
    target = tmp_path / f"out{suffix}"
    (record,) = _colorize(loaded, (tmp_path / source, target))
    assert (record.status, record.fallbacks) == ("ok", lost)
    assert (record.height, record.width) == (51, 37)  # upright
    with Image.open(target) as image:
        assert image.size == (37, 51)
        if "EXIF dropped" not in lost:
            exif = image.getexif()
            assert exif[ExifTags.Base.Copyright] == "me"
            with Image.open(tmp_path / source) as original:
                artist = original.getexif()[ExifTags.Base.Artist]
            assert exif.get(ExifTags.Base.Artist) == artist
            assert exif.get(ExifTags.Base.Orientation, 1) == 1
            taken = {ExifTags.Base.DateTimeOriginal: "1901:02:03 04:05:06"}
            taken[ExifTags.Base.ColorSpace] = 1  # sRGB
            assert exif.get_ifd(ExifTags.IFD.Exif) == ({} if suffix == ".tif" else taken)
        if "resolution dropped" not in lost:
            np.testing.assert_allclose(np.float64(image.info["dpi"]), 300, atol=0.1)


def test_a_place_of_the_wrong_type_is_dropped(loaded, tmp_path):
    exif, place = Image.Exif(), ExifTags.GPS.GPSAltitudeRef.to_bytes(2)
    exif[ExifTags.Base.Copyright] = "me"
    exif[ExifTags.IFD.GPSInfo] = {place[1]: b"\0", ExifTags.GPS.GPSDateStamp: "1901"}
    block = exif.tobytes().replace(place + b"\0\x01", place + b"\0\x02")  # text, not a byte
    Image.fromarray(_pixels()).save(tmp_path / "a.jpg", exif=block)
    (record,) = _colorize(loaded, (tmp_path / "a.jpg", tmp_path / "b.jpg"))
    assert (record.status, record.fallbacks) == ("ok", ["part of EXIF dropped"])
    kept = _read(tmp_path / "b.jpg").metadata.exif
    assert kept[ExifTags.Base.Copyright] == b"me"
    assert not kept.get_ifd(ExifTags.IFD.GPSInfo)


def test_exif_leaves_room_for_the_name_of_the_model(loaded, tmp_path):
    target = tmp_path / "b.jpg"
    for length in (64_800, 65_350, 65_420, 65_480):
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = length * b"x"
        Image.fromarray(_pixels()).save(tmp_path / "a.jpg", exif=exif.tobytes())
        (record,) = _colorize(loaded, (tmp_path / "a.jpg", target), overwrite=True)
        assert (record.status, record.reason) == ("ok", "")
        assert record.fallbacks == (["EXIF dropped"] if length > 65_000 else [])
        written = read_photograph(target.read_bytes(), target).metadata.exif
        assert written[ExifTags.Base.Software].startswith(b"lightning-colorize ")


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("suffix", "lost"),
    [
        (".jpg", []),
        (".tif", []),
        (".png", ["IPTC dropped"]),
        (".webp", ["IPTC dropped"]),
        (".bmp", ["XMP dropped", "IPTC dropped"]),
    ],
)
def test_xmp_and_iptc_are_kept_or_named(loaded, tmp_path, suffix, lost, deep):
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" b="Zo\xc3\xab"/></x:xmpmeta>'
    )
    iptc = b"\x1c\x02\x50\x00\x03Zoe"  # the photographer
    if deep:
        source = tmp_path / "a.tif"
        tags = [(700, "B", len(xmp), xmp, True), (33723, "B", len(iptc), iptc, True)]
        values = _pixels().astype(np.uint16) * 257
        tifffile.imwrite(source, values, photometric="rgb", extratags=tags, software="scanner")
    else:
        source = tmp_path / "a.jpg"
        segment = iptc_segment(iptc)
        exif = Image.Exif()
        exif[ExifTags.Base.Software] = "scanner"
        Image.fromarray(_pixels()).save(source, xmp=xmp, extra=segment, exif=exif.tobytes())
    target = tmp_path / f"out{suffix}"
    (record,) = _colorize(loaded, (source, target))
    others = [f for f in record.fallbacks if f not in ("reduced to 8 bits", "EXIF dropped")]
    assert others == lost
    written = read_photograph(target.read_bytes(), target)
    if "XMP dropped" in lost:
        assert written.metadata.xmp == b""
    else:  # upright; Pillow leaves the attribute of a TIFF out
        assert b'b="Zo\xc3\xab"' in written.metadata.xmp
        assert b'"6"' not in written.metadata.xmp
    assert written.metadata.iptc == (b"" if "IPTC dropped" in lost else iptc)
    assert ExifTags.Base.ImageDescription not in written.metadata.exif  # tifffile's own
    if suffix != ".bmp":
        software = written.metadata.exif[ExifTags.Base.Software].decode()
        assert software.startswith("scanner; lightning-colorize ")
    assert (written.most == 65535) == (deep and suffix in (".png", ".tif"))


def test_failed_write_keeps_the_previous_file(loaded, photo, tmp_path, monkeypatch):
    target = tmp_path / "out" / "a.webp"
    target.parent.mkdir()
    target.write_bytes(b"old")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    job = (photo, target)
    number = errno.EIO
    (record,) = _colorize(loaded, job, overwrite=True)
    assert (record.status, record.reason) == ("failed", "cannot be written: Input/output error")
    number = errno.ENOSPC  # the next images would fail as well
    with pytest.raises(WorkError, match=r"a\.webp cannot be written: No space left on device"):
        _colorize(loaded, job, overwrite=True)
    assert [path.name for path in target.parent.iterdir()] == ["a.webp"]
    assert target.read_bytes() == b"old"


def test_prediction_that_is_not_finite_is_no_image(loaded, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(type(loaded), "colors", lambda self, seen, *_: seen[0][None] / 0)
    (record,) = _colorize(loaded, (photo, tmp_path / "b.png"))
    assert record.status == "failed"
    assert "not finite" in record.reason
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("most", [0, 2 * 128**2, 4 * 256**2])
def test_out_of_memory_lowers_the_batch_and_then_the_size(loaded, tmp_path, monkeypatch, most):
    """Where the network takes `most` pixels, the batch is halved, then the size."""

    def predict(model, seen, **options):
        if sum(image[0].numel() for image in seen) > most:
            raise MemoryError
        return original(model, seen, **options)

    original = module.predict
    monkeypatch.setattr(module, "predict", predict)
    monkeypatch.setattr(loaded, "size", 256)
    jobs, out = [], tmp_path / "out"
    for index in range(5):
        Image.fromarray(_pixels(300, 300)).save(tmp_path / f"{index}.png")
        jobs.append((tmp_path / f"{index}.png", out / f"{index}.png"))
    records = _colorize(loaded, *jobs, manifest=out, batch_size=4)
    if most == 0:
        assert {r.status for r in records} == {"failed"}
        assert {r.reason for r in records} == {"out of memory at 300 x 300 pixels"}
        assert os.listdir(out) == ["manifest.jsonl"]
        return
    assert {r.status for r in records} == {"ok"}
    halved = ["in a batch of 2: out of memory", "in a batch of 1: out of memory"]
    smaller = [] if most == 4 * 256**2 else ["seen at 128 px: out of memory"]
    assert records[-1].fallbacks == smaller
    assert records[0].fallbacks == (halved + smaller if smaller else [])
    assert len(os.listdir(out)) == 6


def test_image_too_large_for_its_format(loaded, tmp_path):
    Image.fromarray(_pixels(1, 70000)).save(tmp_path / "a.png")
    (record,) = _colorize(loaded, (tmp_path / "a.png", tmp_path / "out/b.jpg"))
    assert (record.status, record.reason[:19]) == ("failed", "cannot be written: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_manifest_on_a_full_disk_stops_the_work(loaded, photo, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.jsonl").symlink_to("/dev/full")
    with pytest.raises(WorkError, match=r"manifest\.jsonl cannot be written: No space left on"):
        _colorize(loaded, (photo, tmp_path / "out/a.png"), manifest=tmp_path / "out")
    assert (tmp_path / "out/a.png").exists()


@pytest.mark.parametrize("content", ["", "one\n", 'one\n{"inp'])
def test_manifest_continues_after_an_incomplete_line(tmp_path, content):
    (tmp_path / "manifest.jsonl").write_text(content)
    with open_manifest(tmp_path) as file:
        file.write(b"new\n")
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert lines == [*content.splitlines(), "new"]


@pytest.mark.slow
def test_twelve_megapixels_take_little_memory(loaded, tmp_path):
    import resource

    small = Image.fromarray(_pixels(30, 40))
    small.resize((4000, 3000), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (record,) = _colorize(loaded, (tmp_path / "a.jpg", tmp_path / "b.jpg"))
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (record.status, record.width) == ("ok", 4000)
    # Some copies of 36 MB each, and strips; converted as a whole it takes more than 1 GB.
    assert growth < 250 * 1024


def _write_images(folder, count):
    folder.mkdir()
    for index in range(count):
        pixels = _pixels(100 + index % 21, 160) + np.uint8(index % 50)
        suffix = ("jpg", "png", "webp", "tif")[index % 4]
        Image.fromarray(pixels).save(folder / f"{index:03d}.{suffix}")


def _outputs(folder):
    return [path for path in folder.glob("*.*") if path.name != "manifest.jsonl"]


def _digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in _outputs(folder)}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_run_continues(command, finished_run, tmp_path):
    """All images once, none half-written, and the same bytes as in an undisturbed run."""
    _write_images(tmp_path / "in", _IMAGES)
    out, whole = tmp_path / "out", tmp_path / "whole"
    rest = ["--checkpoint", finished_run, "--quiet"]
    rng = random.Random(0)
    moments = sorted(rng.sample(range(5, _IMAGES - 30), _KILLS))
    kills = 0
    for moment in moments:
        process = fork("colorize", tmp_path / "in", out, *rest)
        while len(_outputs(out)) < moment and process.is_alive():
            time.sleep(0.002)
        time.sleep(rng.random() * 0.02)  # anywhere in the work on an image
        kill_group(process)
        kills += 0 < len(_outputs(out)) < _IMAGES
    assert kills >= 0.7 * _KILLS
    done = {p.name: p.stat().st_mtime_ns for p in _outputs(out) if not p.name.startswith(".")}
    for folder in (out, whole):
        assert command("colorize", tmp_path / "in", folder, *rest) == 0
    assert _digests(out) == _digests(whole)
    assert len(_digests(out)) == _IMAGES
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in done.items())
    assert not list(out.glob(".*"))
    lines = read_lines(out / "manifest.jsonl")
    written = [line["output"] for line in lines if line["status"] == "ok"]
    # A kill loses the lines of images that threads have just renamed.
    assert len(written) == len(set(written)) >= _IMAGES - 2 * _KILLS
