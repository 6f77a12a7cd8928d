import errno
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from skimage.color import rgb2lab

from lightning_colorize.common.errors import WorkError
from lightning_colorize.inference import Job, colorize_files, load_model
from lightning_colorize.inference import colorize as module
from lightning_colorize.inference.colorize import open_manifest, save_image


@pytest.fixture(scope="module")
def loaded(finished_run):
    return load_model(finished_run)


def _pixels(height=37, width=51, channels=3):
    y, x, c = np.mgrid[:height, :width, :channels]
    return (30 + 180 * ((x + 2 * y + 9 * c) % 40) / 40).astype(np.uint8)


def _colorize(loaded, *jobs, **options):
    return list(colorize_files(loaded, [Job(*job) for job in jobs], 32, **options))


def _lightness(path):
    return rgb2lab(np.asarray(Image.open(path).convert("RGB")))[..., 0]


def test_color_and_grey_images_keep_their_lightness(loaded, tmp_path):
    rgb = _pixels()
    expected = {"rgb": rgb, "grey": np.repeat(rgb[..., :1], 3, axis=2)}
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    for name, pixels in expected.items():
        target = tmp_path / "out" / f"{name}.png"
        (record,) = _colorize(loaded, (tmp_path / f"{name}.png", target))
        assert (record.status, record.reason, record.fallbacks) == ("ok", "", [])
        assert (record.height, record.width) == (37, 51)
        assert Image.open(target).size == (51, 37)
        assert np.abs(_lightness(target) - rgb2lab(pixels)[..., 0]).max() < 1.5
        colored = np.asarray(Image.open(target)).astype(int)
        assert np.ptp(colored, axis=2).max() > 2  # it is not grey


def test_rotated_image_is_saved_upright(loaded, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_pixels()).save(tmp_path / "a.jpg", exif=exif)
    (record,) = _colorize(loaded, (tmp_path / "a.jpg", tmp_path / "b.jpg"))
    assert (record.height, record.width) == (51, 37)
    assert Image.open(tmp_path / "b.jpg").size == (37, 51)
    assert Image.open(tmp_path / "b.jpg").getexif().get(0x0112, 1) == 1


def test_manifest_has_a_line_per_image_and_broken_ones_are_skipped(loaded, tmp_path):
    Image.fromarray(_pixels()).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff not a photograph")
    Image.fromarray(_pixels(40, 4)).save(tmp_path / "c.png")
    jobs = [(tmp_path / name, tmp_path / "out" / name) for name in ("a.png", "b.jpg", "c.png")]
    _colorize(loaded, *jobs, manifest=tmp_path / "out")
    a, b, c = map(json.loads, (tmp_path / "out/manifest.jsonl").read_text().splitlines())
    assert list(a) == [
        "input", "output", "status", "reason", "width", "height",
        "model", "size", "seconds", "fallbacks",
    ]  # fmt: skip
    assert a["input"] == str(tmp_path / "a.png")
    assert a["output"] == str(tmp_path / "out/a.png")
    assert (a["status"], a["width"], a["height"], a["size"]) == ("ok", 51, 37, 32)
    assert a["model"] == str(loaded.path)
    assert 0 < a["seconds"] < 60
    assert (b["status"], b["width"]) == ("failed", None)
    assert b["reason"]
    assert not (tmp_path / "out/b.jpg").exists()
    assert (c["status"], c["fallbacks"]) == ("ok", ["seen at 12 px because of its aspect ratio"])


def test_conversions_to_8_bit_rgb_are_fallbacks(loaded, tmp_path):
    deep = _pixels(channels=1)[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(_pixels(channels=4)).save(tmp_path / "rgba.png")
    jobs = [(tmp_path / name, tmp_path / "out" / name) for name in ("deep.png", "rgba.png")]
    fallbacks = [record.fallbacks for record in _colorize(loaded, *jobs)]
    assert fallbacks == [["reduced to 8 bits"], ["transparency composited over white"]]


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
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "1901:02:03 04:05:06"
    Image.fromarray(_pixels()).save(tmp_path / source, exif=exif.tobytes(), dpi=(300, 300))
    target = tmp_path / f"out{suffix}"
    (record,) = _colorize(loaded, (tmp_path / source, target))
    assert (record.status, record.fallbacks) == ("ok", lost)
    with Image.open(target) as image:
        if "EXIF dropped" not in lost:
            exif = image.getexif()
            assert exif[ExifTags.Base.Copyright] == "me"
            with Image.open(tmp_path / source) as original:
                artist = original.getexif()[ExifTags.Base.Artist]
            dropped = suffix == ".tif" and not artist.isascii()
            assert exif.get(ExifTags.Base.Artist) == (None if dropped else artist)
            assert exif.get(ExifTags.Base.Orientation, 1) == 1
            taken = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
            assert taken == (None if suffix == ".tif" else "1901:02:03 04:05:06")
        if "resolution dropped" not in lost:
            np.testing.assert_allclose(np.float64(image.info["dpi"]), 300, atol=0.1)


def test_existing_files_are_not_overwritten_by_default(loaded, tmp_path):
    Image.fromarray(_pixels()).save(tmp_path / "a.png")
    target = tmp_path / "out.png"
    target.write_bytes(b"mine")
    (record,) = _colorize(loaded, (tmp_path / "a.png", target))
    assert (record.status, record.reason) == ("skipped", "the output exists")
    assert target.read_bytes() == b"mine"
    (record,) = _colorize(loaded, (tmp_path / "a.png", target), overwrite=True)
    assert record.status == "ok"
    assert Image.open(target).size == (51, 37)


def test_failed_write_keeps_the_previous_file(loaded, tmp_path, monkeypatch):
    Image.fromarray(_pixels()).save(tmp_path / "a.png")
    target = tmp_path / "out" / "a.webp"
    target.parent.mkdir()
    target.write_bytes(b"old")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    job = (tmp_path / "a.png", target)
    number = errno.EIO
    (record,) = _colorize(loaded, job, overwrite=True)
    assert record.status == "failed"
    assert record.reason == "cannot be written: Input/output error"
    number = errno.ENOSPC  # the next images would fail as well
    message = r"a\.webp cannot be written: No space left on device; .* the same command continues$"
    with pytest.raises(WorkError, match=message):
        _colorize(loaded, job, overwrite=True)
    assert [path.name for path in target.parent.iterdir()] == ["a.webp"]
    assert target.read_bytes() == b"old"


def test_prediction_that_is_not_finite_is_no_image(loaded, tmp_path, monkeypatch):
    Image.fromarray(_pixels()).save(tmp_path / "a.png")
    monkeypatch.setattr(type(loaded.task), "decode", lambda self, prediction, size: prediction / 0)
    (record,) = _colorize(loaded, (tmp_path / "a.png", tmp_path / "b.png"))
    assert (record.status, record.reason) == (
        "failed",
        "the network predicts colors that are not finite",
    )
    assert not (tmp_path / "b.png").exists()


def test_what_a_killed_process_left_is_removed(loaded, tmp_path, monkeypatch):
    Image.fromarray(_pixels()).save(tmp_path / "a.png")
    target = tmp_path / "out" / "a.png"
    black = torch.zeros(3, 2, 2, dtype=torch.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        process = multiprocessing.get_context("fork").Process(
            target=save_image, args=(black, target)
        )
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(os.listdir(target.parent)) == 1
    (record,) = _colorize(loaded, (tmp_path / "a.png", target))
    assert record.status == "ok"
    assert os.listdir(target.parent) == ["a.png"]


def test_out_of_memory_fails_one_image_and_other_errors_raise(loaded, tmp_path, monkeypatch):
    Image.fromarray(_pixels()).save(tmp_path / "a.png")
    job = (tmp_path / "a.png", tmp_path / "b.png")

    def fail(error):
        def colorize_image(*_):
            raise error

        monkeypatch.setattr(module, "colorize_image", colorize_image)

    for error in (
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ):
        fail(error)
        (record,) = _colorize(loaded, job)
        assert (record.status, record.reason) == ("failed", "out of memory at 51 x 37 pixels")
    fail(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        _colorize(loaded, job)


def test_large_images_in_tiny_files_are_rejected(loaded, tmp_path, monkeypatch):
    Image.new("1", (7000, 6000)).save(tmp_path / "a.png")
    job = (tmp_path / "a.png", tmp_path / "b.png")
    bytes_ = (tmp_path / "a.png").stat().st_size
    (record,) = _colorize(loaded, job)
    assert record.status == "failed"
    assert record.reason == (
        f"42,000,000 pixels in {bytes_:,} bytes, more than 100 for each: "
        "save it uncompressed; colorize --max-density accepts it"
    )
    black = torch.zeros(3, 2, 2, dtype=torch.uint8)
    monkeypatch.setattr(module, "colorize_image", lambda *_: black)
    (record,) = _colorize(loaded, job, max_density=10**5)
    assert (record.status, record.width) == ("ok", 7000)


@pytest.mark.parametrize("suffix", sorted(module.WRITABLE))
def test_every_format_holds_the_image(tmp_path, suffix):
    y, x, c = np.mgrid[:37, :51, :3]
    pixels = (40 * c + 3 * y + 2 * x).astype(np.uint8)
    path = tmp_path / "new" / f"a{suffix.upper()}"
    save_image(torch.from_numpy(pixels).permute(2, 0, 1), path)
    image = Image.open(path)
    assert image.format == module.WRITABLE[suffix]
    error = np.abs(np.asarray(image.convert("RGB")).astype(int) - pixels)
    assert error.mean() < (2 if image.format in ("JPEG", "WEBP") else 1e-9)


def test_the_longest_file_name_can_be_written(tmp_path):
    path = tmp_path / ("a" * 251 + ".png")
    save_image(torch.zeros(3, 2, 2, dtype=torch.uint8), path)
    assert os.listdir(tmp_path) == [path.name]


def test_image_too_large_for_its_format(loaded, tmp_path):
    Image.fromarray(_pixels(1, 70000)).save(tmp_path / "a.png")
    (record,) = _colorize(loaded, (tmp_path / "a.png", tmp_path / "out/b.jpg"))
    assert record.status == "failed"
    assert record.reason.startswith("cannot be written: ")
    assert not (tmp_path / "out").exists()


def test_a_manifest_that_is_removed_is_begun_again(loaded, tmp_path):
    out = tmp_path / "out"
    jobs = []
    for name in ("a.png", "b.png"):
        Image.fromarray(_pixels()).save(tmp_path / name)
        jobs.append(Job(tmp_path / name, out / name))
    records = colorize_files(loaded, jobs, 32, manifest=out)
    next(records)
    shutil.rmtree(out)
    assert next(records).status == "ok"
    (line,) = (out / "manifest.jsonl").read_text().splitlines()
    assert json.loads(line)["input"] == str(tmp_path / "b.png")
    assert sorted(os.listdir(out)) == ["b.png", "manifest.jsonl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_manifest_on_a_full_disk_stops_the_work(loaded, tmp_path):
    Image.fromarray(_pixels()).save(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.jsonl").symlink_to("/dev/full")
    with pytest.raises(WorkError, match=r"manifest\.jsonl cannot be written: No space left on"):
        _colorize(loaded, (tmp_path / "a.png", tmp_path / "out/a.png"), manifest=tmp_path / "out")
    assert (tmp_path / "out/a.png").exists()


def test_manifest_continues_after_an_incomplete_line(tmp_path):
    for content, expected in [
        (None, "new\n"),
        ("", "new\n"),
        ("one\n", "one\nnew\n"),
        ('one\n{"inp', 'one\n{"inp\nnew\n'),
    ]:
        folder = tmp_path / str(len(os.listdir(tmp_path)))
        if content is not None:
            folder.mkdir()
            (folder / "manifest.jsonl").write_text(content)
        with open_manifest(folder) as file:
            file.write("new\n")
        assert (folder / "manifest.jsonl").read_text() == expected


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
