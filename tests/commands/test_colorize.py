import io
import json
import multiprocessing
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import ExifTags, Image
from skimage.color import rgb2lab

from lightning_colorize.inference import devices
from lightning_colorize.reports import colored_sheet
from tests.conftest import read_lines, until
from tests.distributed.launchers import fork


@pytest.fixture
def images(tmp_path):
    """Two images, one in a sub-folder."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    y, x = np.mgrid[:45, :60]
    pixels = np.stack([2 * x + y, 3 * y + 20, 4 * x], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "a.jpg", quality=95)
    Image.fromarray(pixels[::-1]).save(folder / "sub/b.png")
    return folder


@pytest.fixture
def colorize(command, finished_run, capsys):
    """Run the command with the run's checkpoint; return its exit code and what it printed."""

    def colorize(*words):
        capsys.readouterr()
        code = command("colorize", *words, "--checkpoint", finished_run)
        return code, *capsys.readouterr()

    return colorize


def _lines(folder):
    return read_lines(folder / "manifest.jsonl")


def _reasons(folder):
    return {Path(line["input"]).name: line["reason"] for line in _lines(folder)}


def test_a_folder_is_colorized_once(colorize, finished_run, images, tmp_path):
    out = tmp_path / "out"
    code, printed, _ = colorize(images, out)
    assert (code, printed) == (0, f"2 colorized, 0 skipped, 0 failed -> {out}\n")
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == [
        "a.jpg", "manifest.jsonl", "sub/b.png",
    ]  # fmt: skip
    before, after = (
        rgb2lab(np.asarray(Image.open(folder / "sub/b.png"))) for folder in (images, out)
    )
    assert np.abs(before[..., 0] - after[..., 0]).max() < 1
    assert np.abs(before[..., 1:] - after[..., 1:]).mean() > 3
    stamp = (out / "a.jpg").stat().st_mtime_ns
    assert "0 colorized, 2 skipped" in colorize(images, out)[1]
    assert (out / "a.jpg").stat().st_mtime_ns == stamp
    assert "2 colorized" in colorize(images, out, "--overwrite", "--size", 48)[1]
    assert (out / "a.jpg").stat().st_mtime_ns > stamp
    software = Image.open(out / "a.jpg").getexif()[ExifTags.Base.Software]
    assert f", {finished_run.name} sha256:" in software
    assert [(line["status"], line["size"]) for line in _lines(out)] == [
        *[("ok", 32)] * 2, *[("skipped", 32)] * 2, *[("ok", 48)] * 2,
    ]  # fmt: skip


def test_fallbacks_are_reported(colorize, tmp_path):
    image = tmp_path / "in" / "see-through.png"
    image.parent.mkdir()
    Image.new("RGBA", (40, 40), (90, 80, 70, 60)).save(image)
    *_, errors = colorize(image, tmp_path / "a.jpg")
    assert "a.jpg: transparency composited over white\n" in errors
    *_, errors = colorize(image.parent, tmp_path / "out", "--format", "jpg")
    reason = "transparency composited over white"
    seen = f"see {tmp_path / 'out' / 'manifest.jsonl'}"
    assert f"1 with fallbacks, such as: {reason}; {seen}\n" in errors
    # A name without an image suffix is a folder.
    _, printed, _ = colorize(image, tmp_path / "a.xyz")
    assert f"-> {tmp_path / 'a.xyz' / 'see-through.png'}\n" in printed


def test_broken_images_are_reported_and_the_rest_is_colorized(colorize, images, tmp_path):
    for number in (*range(6), "\x1b[2J"):
        (images / f"broken{number}.jpg").write_bytes(b"no image")
    out = tmp_path / "out"
    code, printed, errors = colorize(images, out, "--format", "png")
    assert code == 1
    assert (out / "a.png").exists()
    assert "2 colorized, 0 skipped, 7 failed" in printed
    assert f"not colorized: {images / 'broken0.jpg'}: not an image" in errors
    assert r"broken\x1b[2J.jpg: not an image" in errors
    assert "... and 2 more" in errors
    assert [line["status"] for line in _lines(out)].count("failed") == 7
    # Exit 2 is reserved for errors found before any work.
    target = tmp_path / "a.png"
    assert colorize(images / "broken0.jpg", target)[0] == 1
    assert not target.exists()


def test_precision_and_largest_image_are_options(colorize, photo_folder, tmp_path):
    results = []
    for precision in ("32-true", "bf16-mixed"):
        words = (tmp_path / precision, "--format", "png", "--precision", precision, "--limit", 1)
        assert colorize(photo_folder / "test", *words)[0] == 0
        (file,) = (tmp_path / precision).glob("*.png")
        results.append(np.asarray(Image.open(file), dtype=int))
    assert 0 < np.abs(results[0] - results[1]).mean() < 1
    assert colorize(photo_folder / "test", tmp_path / "few", "--max-pixels", 10)[0] == 1
    assert all("colorize --max-pixels accepts" in r for r in _reasons(tmp_path / "few").values())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
def test_names_on_standard_input_may_contain_other_separators(
    colorize, images, tmp_path, monkeypatch, end
):
    names = [images / f"a{separator}b.jpg" for separator in "\u2028\x85\x0b\x0c\x1c"]
    for name in names:
        shutil.copy(images / "a.jpg", name)
    given = "".join(f"{name}{end}" for name in names).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))
    _, printed, errors = colorize("-", images / "sub", tmp_path / "out", "--quiet")
    assert printed.startswith("6 colorized, 0 skipped, 0 failed")
    assert errors == ""


def test_standard_input_without_names_is_refused(colorize, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    code, _, errors = colorize("-", tmp_path / "new")
    assert code == 2
    assert "standard input contains no names" in errors


def test_parts_of_a_folder(colorize, images, tmp_path):
    """Two of two parts color everything once; the rest are no images."""
    (images / "Thumbs.db").write_bytes(b"x")
    results = [
        json.loads(colorize(images, tmp_path / "out", "--json", "--shard", part)[1])
        for part in ("1/2", "2/2")
    ]
    assert [result["ok"] for result in results] == [1, 1]
    assert sum(result["skipped"] for result in results) == 1
    assert sorted(_reasons(tmp_path / "out")) == ["Thumbs.db", "a.jpg", "b.png"]
    assert "1 colorized" in colorize(images, tmp_path / "new", "--limit", 1)[1]


def test_a_dry_run_writes_nothing_and_names_the_images_that_failed(colorize, images, tmp_path):
    out = tmp_path / "out"
    colorize(images, out, "--limit", 1)
    (broken := images / "broken\x1b.jpg").write_bytes(b"no image")
    before = sorted(out.rglob("*"))
    code, printed, errors = colorize(images, out, "--dry-run")
    assert code == 1
    assert "2 images to colorize (0 MB), 1 done\nabout 0:00:0" in printed
    assert "from 1 images" in printed
    assert errors.endswith(f"not colorized: {images}/broken\\x1b.jpg: not an image\n")
    code, printed, errors = colorize(images, out, "--dry-run", "--json", "--quiet", "--overwrite")
    found = json.loads(printed)
    assert (code, found["images"], found["done"], found["tried"]) == (1, 3, 0, 2)
    assert found["written"] > 1000
    assert found["failures"] == {str(broken): "not an image"}
    assert errors == ""
    assert sorted(out.rglob("*")) == before


def test_images_in_color_can_be_skipped(colorize, images, tmp_path):
    Image.open(images / "a.jpg").convert("L").save(images / "grey.png")
    words = (images, tmp_path / "out", "--already-color", "skip")
    assert "1 colorized, 2 skipped" in colorize(*words)[1]
    colored = "it is already in color"
    assert _reasons(tmp_path / "out") == {"a.jpg": colored, "b.png": colored, "grey.png": ""}


def test_several_models_and_their_sheet(
    command, finished_run, images, tmp_path, capsys, monkeypatch
):
    drawn = Mock(wraps=colored_sheet.draw_sheet)
    monkeypatch.setattr(colored_sheet, "draw_sheet", drawn)
    for index in range(30):
        shutil.copy(images / "a.jpg", images / f"copy{index}.jpg")
    (images / "broken.jpg").write_bytes(b"no image")
    models = ("--checkpoint", f"cnn={finished_run}", "--checkpoint", "package=default")
    words = ("colorize", images, tmp_path / "out", *models, "--sheet", "--size", 32)
    assert command(*words) == 1
    output = capsys.readouterr()
    assert f"32 colorized, 0 skipped, 1 failed -> {tmp_path / 'out/cnn'}\n" in output.out
    assert output.out.endswith(f"sheet -> {tmp_path / 'out/sheet.jpg'}\n")
    for name, model in (("cnn", str(finished_run)), ("package", "default")):
        lines = _lines(tmp_path / "out" / name)
        assert len(lines) == 33
        assert all(model in line["model"] for line in lines)
    cnn, package = (tmp_path / f"out/{name}/sub/b.png" for name in ("cnn", "package"))
    assert cnn.read_bytes() != package.read_bytes()
    with Image.open(tmp_path / "out/sheet.jpg") as sheet:
        tiles = np.asarray(sheet.resize((6, 8), Image.Resampling.BOX), dtype=int)
    assert drawn.call_args.args[2] == "16 of 32 images"
    # Grey, both models, grey, both models.
    chroma = np.ptp(tiles, axis=2).mean(axis=0)
    assert chroma[[0, 3]].max() < 1 < chroma[[1, 2, 4, 5]].min()


def test_a_sheet_replaces_only_sheets(colorize, images, tmp_path):
    words, sheet = (images, tmp_path / "out", "--sheet"), tmp_path / "out" / "sheet.jpg"
    sheet.parent.mkdir()
    shutil.copy(images / "a.jpg", sheet)
    before = sheet.read_bytes()
    code, _, errors = colorize(*words)
    assert code == 2
    assert "sheet.jpg, which is not a contact sheet" in errors
    assert os.listdir(sheet.parent) == ["sheet.jpg"]
    assert sheet.read_bytes() == before
    assert colorize(*words, "--overwrite")[0] == 0
    # A call that continues draws its own sheet again.
    (sheet.parent / "a.jpg").unlink()
    stamp = sheet.stat().st_mtime_ns
    assert "1 colorized, 1 skipped" in colorize(*words)[1]
    assert sheet.stat().st_mtime_ns > stamp
    # A part without images draws none.
    assert "no sheet" in colorize(images, tmp_path / "none", "--sheet", "--shard", "9/9")[2]
    # Nor is it the place of a result.
    (images / "a.jpg").rename(images / "sheet.jpg")
    assert colorize(*words, "--overwrite")[0] == 2


@pytest.mark.usefixtures("permissions")
def test_the_manifest_says_why_a_file_is_no_image(colorize, images, tmp_path):
    (images / "sub").chmod(0)
    (images / ".git").mkdir()
    for name in (".hidden.jpg", ".git/a.jpg"):
        shutil.copy(images / "a.jpg", images / name)
    for name in ("notes.txt", "wedding.AVI", ".notes"):
        (images / name).touch()
    os.mkfifo(images / "pipe.png")
    code, _, errors = colorize(images, tmp_path / "out")
    (images / "sub").chmod(0o700)
    assert code == 1
    assert f"not colorized: {images / 'sub'}: " in errors
    assert f"not colorized: {images / 'notes.txt'}: its name has no image suffix\n" in errors
    assert "hidden" not in errors
    assert _reasons(tmp_path / "out") == {
        "a.jpg": "",
        "sub": "Permission denied",
        "notes.txt": "its name has no image suffix",
        "wedding.AVI": "a film, color it by itself: colorize wedding.AVI colored.mp4",
        ".notes": "it is hidden",
        ".git": "it is hidden",
        ".hidden.jpg": "it is hidden",
        "pipe.png": "not a regular file",
    }


@pytest.fixture
def forks(monkeypatch):
    """Processes of devices are forks, without imports; tests/inference/test_controls.py spawns."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)


def test_processes_of_several_devices_end_with_a_killed_command(finished_run, images, tmp_path):
    for index in range(300):
        shutil.copy(images / "a.jpg", images / f"copy{index}.jpg")
    out = tmp_path / "out"
    options = ["--checkpoint", finished_run, "--device", "cpu", "--devices", "2", "--quiet"]
    os.mkfifo(pipe := tmp_path / "pipe")
    process = fork("colorize", images, out, *options, stdout=pipe)
    # Standard output ends when the last process that holds it has ended.
    with pipe.open() as output:
        until(lambda: any(out.glob("*.jpg")) or not process.is_alive(), 120)
        process.kill()
        assert output.read() == ""
    assert len(list(out.glob("*.jpg"))) < 300


def test_no_device_is_without_images(colorize, images, tmp_path, monkeypatch):
    used = []
    monkeypatch.setattr(
        devices, "colorize_on_devices", lambda _, names, *__: used.extend(names) or ()
    )
    words = ("--device", "cpu", "--devices", 99)
    assert colorize(images / "a.jpg", tmp_path / "out", *words)[0] == 0
    assert used == ["cpu"]


@pytest.mark.usefixtures("forks")
def test_several_devices_share_the_images(colorize, images, tmp_path):
    (images / "broken.jpg").write_bytes(b"no image")
    words = (images, tmp_path / "out", "--device", "cpu", "--devices", 2)
    code, printed, _ = colorize(*words)
    assert code == 1
    assert "2 colorized, 0 skipped, 1 failed" in printed
    assert len(_lines(tmp_path / "out")) == 3
    # Each process reports an error of its own.
    (tmp_path / "out/manifest.jsonl").unlink()
    (tmp_path / "out/manifest.jsonl").symlink_to("/dev/full")
    code, _, errors = colorize(*words)
    assert code == 1
    assert "manifest.jsonl cannot be written: No space left" in errors
