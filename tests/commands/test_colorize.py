import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from skimage.color import rgb2lab

from tests.conftest import read_lines


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


def _lines(folder):
    return read_lines(folder / "manifest.jsonl")


def test_a_folder_is_colorized_once(command, finished_run, images, tmp_path, capsys):
    out = tmp_path / "out"
    words = ("colorize", images, out, "--checkpoint", finished_run, "--device", "cpu")
    assert command(*words) == 0
    assert capsys.readouterr().out == f"2 colorized, 0 skipped, 0 failed -> {out}\n"
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == [
        "a.jpg", "manifest.jsonl", "sub/b.png",
    ]  # fmt: skip
    before, after = (
        rgb2lab(np.asarray(Image.open(folder / "sub/b.png"))) for folder in (images, out)
    )
    assert np.abs(before[..., 0] - after[..., 0]).max() < 1
    assert np.abs(before[..., 1:] - after[..., 1:]).mean() > 3
    assert [line["status"] for line in _lines(out)] == ["ok", "ok"]
    assert [line["size"] for line in _lines(out)] == [32, 32]

    stamp = (out / "a.jpg").stat().st_mtime_ns
    assert command(*words) == 0
    assert "0 colorized, 2 skipped" in capsys.readouterr().out
    assert (out / "a.jpg").stat().st_mtime_ns == stamp
    assert [line["status"] for line in _lines(out)] == [
        "ok",
        "ok",
        "skipped",
        "skipped",
    ]

    assert command(*words, "--overwrite", "--size", 48) == 0
    assert "2 colorized" in capsys.readouterr().out
    assert (out / "a.jpg").stat().st_mtime_ns > stamp
    assert [line["size"] for line in _lines(out)][-2:] == [48, 48]


def test_fallbacks_are_reported(command, finished_run, tmp_path, capsys):
    image = tmp_path / "in" / "see-through.png"
    image.parent.mkdir()
    Image.new("RGBA", (40, 40), (90, 80, 70, 60)).save(image)
    checkpoint = ("--checkpoint", finished_run)
    assert command("colorize", image, tmp_path / "a.jpg", *checkpoint) == 0
    assert "a.jpg: transparency composited over white\n" in capsys.readouterr().err
    assert command("colorize", image.parent, tmp_path / "out", *checkpoint, "--format", "jpg") == 0
    assert "1 with fallbacks; see the manifest\n" in capsys.readouterr().err
    # A name without an image suffix is a folder.
    assert command("colorize", image, tmp_path / "a.xyz", *checkpoint) == 0
    assert f"-> {tmp_path / 'a.xyz' / 'see-through.png'}\n" in capsys.readouterr().out


def test_broken_images_are_reported_and_the_rest_is_colorized(
    command, finished_run, images, tmp_path, capsys
):
    for number in (*range(6), "\x1b[2J"):
        (images / f"broken{number}.jpg").write_bytes(b"no image")
    out = tmp_path / "out"
    words = ("--checkpoint", finished_run, "--format", "png")
    assert command("colorize", images, out, *words) == 1
    assert (out / "a.png").exists()
    output = capsys.readouterr()
    assert "2 colorized, 0 skipped, 7 failed" in output.out
    assert f"not colorized: {images / 'broken0.jpg'}: not an image" in output.err
    assert r"broken\x1b[2J.jpg: not an image" in output.err
    assert "... and 2 more" in output.err
    assert [line["status"] for line in _lines(out)].count("failed") == 7
    # Exit 2 is reserved for errors found before any work.
    target = tmp_path / "a.png"
    assert command("colorize", images / "broken0.jpg", target, "--checkpoint", finished_run) == 1
    assert not target.exists()


@pytest.mark.usefixtures("permissions")
def test_a_folder_that_cannot_be_opened_fails_alone(
    command, finished_run, images, tmp_path, capsys
):
    out = tmp_path / "out"
    words = ("colorize", images, out, "--checkpoint", finished_run)
    assert command(*words) == 0
    (images / "sub").chmod(0)
    assert command(*words, "--overwrite") == 1
    output = capsys.readouterr()
    assert "1 colorized, 0 skipped, 1 failed" in output.out
    assert f"not colorized: {images / 'sub'}: " in output.err
    assert command(*words) == 1
    assert "0 colorized, 1 skipped, 1 failed" in capsys.readouterr().out
    (images / "sub").chmod(0o700)


def test_precision_and_largest_image_are_options(command, finished_run, photo_folder, tmp_path):
    words = ("colorize", photo_folder / "test", "--checkpoint", finished_run, "--format", "png")
    for name, precision in (("full", "32-true"), ("half", "bf16-mixed")):
        assert command(*words[:2], tmp_path / name, *words[2:], "--precision", precision) == 0
    pairs = [
        [
            np.asarray(Image.open(tmp_path / name / file.name), dtype=int)
            for name in ("full", "half")
        ]
        for file in (tmp_path / "full").glob("*.png")
    ]
    assert any((full != half).any() for full, half in pairs)
    assert all(np.abs(full - half).mean() < 1 for full, half in pairs)
    assert command(*words[:2], tmp_path / "few", *words[2:], "--max-pixels", 10) == 1
    for line in (tmp_path / "few" / "manifest.jsonl").read_text().splitlines():
        assert "more than 10; colorize --max-pixels accepts it" in json.loads(line)["reason"]


def test_several_images_patterns_and_standard_input(
    command, finished_run, images, tmp_path, capsys, monkeypatch
):
    checkpoint = ("--checkpoint", finished_run)
    names = [str(images / "a.jpg"), str(images / "sub/b.png")]
    for case, (inputs, given) in enumerate(
        [(names, ""), ([f"{images}/**/*.*"], ""), (["-"], "\n".join(names))]
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        assert command("colorize", *inputs, tmp_path / f"{case}", *checkpoint, "--quiet") == 0
        output = capsys.readouterr()
        assert output.out.startswith("2 colorized, ")
        assert output.err == ""
        assert (tmp_path / f"{case}/sub/b.png").is_file()
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert command("colorize", "-", tmp_path / "new", *checkpoint) == 2
    assert "standard input contains no names" in capsys.readouterr().err


def test_parts_of_a_folder(command, finished_run, images, tmp_path, capsys):
    """Two of two parts color everything once; the rest are no images."""
    (images / "Thumbs.db").write_bytes(b"x")
    words = ("colorize", images, tmp_path / "out", "--checkpoint", finished_run, "--json")
    for part in ("1/2", "2/2"):
        assert command(*words, "--shard", part) == 0
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["ok"] for result in results] == [1, 1]
    assert sum(result["skipped"] for result in results) == 1
    lines = _lines(tmp_path / "out")
    assert sorted(Path(line["input"]).name for line in lines) == ["Thumbs.db", "a.jpg", "b.png"]
    words = ("colorize", images, tmp_path / "new", "--checkpoint", finished_run, "--limit", 1)
    assert command(*words) == 0
    assert "1 colorized" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(command, finished_run, images, tmp_path, capsys):
    out = tmp_path / "out"
    words = ("colorize", images, out, "--checkpoint", finished_run)
    assert command(*words, "--limit", 1) == 0
    before = sorted(out.rglob("*"))
    capsys.readouterr()
    assert command(*words, "--dry-run") == 0
    assert "1 images to colorize (0 MB), 1 done\nabout 0:00:0" in capsys.readouterr().out
    assert command(*words, "--dry-run", "--json", "--overwrite") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["done"], found["tried"]) == (2, 0, 2)
    assert found["written"] > 1000
    assert sorted(out.rglob("*")) == before
    assert command("colorize", images, tmp_path / "new", "--dry-run") == 0
    assert not (tmp_path / "new").exists()


def test_images_in_color_can_be_skipped(command, finished_run, images, tmp_path, capsys):
    grey = Image.open(images / "a.jpg").convert("L")
    grey.save(images / "grey.png")
    words = ("colorize", images, tmp_path / "out", "--checkpoint", finished_run)
    assert command(*words, "--already-color", "skip") == 0
    assert "1 colorized, 2 skipped" in capsys.readouterr().out
    reasons = {Path(line["input"]).name: line["reason"] for line in _lines(tmp_path / "out")}
    assert reasons == {
        "a.jpg": "it is already in color",
        "b.png": "it is already in color",
        "grey.png": "",
    }


def test_results_name_the_model(command, finished_run, images, tmp_path):
    for form in ("jpg", "png", "tiff", "webp"):
        out = tmp_path / form
        words = ("colorize", images / "a.jpg", out, "--checkpoint", finished_run, "--format", form)
        assert command(*words) == 0
        software = Image.open(out / f"a.{form}").getexif()[ExifTags.Base.Software]
        assert software.startswith("lightning-colorize ")
        assert f", {finished_run.name} sha256:" in software


def test_several_models_and_their_sheet(command, finished_run, images, tmp_path, capsys):
    for index in range(30):
        shutil.copy(images / "a.jpg", images / f"copy{index}.jpg")
    (images / "broken.jpg").write_bytes(b"no image")
    models = ("--checkpoint", f"cnn={finished_run}", "--checkpoint", "package=default")
    words = ("colorize", images, tmp_path / "out", *models, "--sheet", "--size", 32)
    assert command(*words) == 1
    output = capsys.readouterr()
    assert f"32 colorized, 0 skipped, 1 failed -> {tmp_path / 'out/cnn'}\n" in output.out
    assert output.out.endswith(f"sheet -> {tmp_path / 'out/sheet.jpg'}\n")
    for name, model in (("cnn", str(finished_run)), ("package", "default.safetensors")):
        lines = _lines(tmp_path / "out" / name)
        assert len(lines) == 33
        assert all(model in line["model"] for line in lines)
    cnn, package = (tmp_path / f"out/{name}/sub/b.png" for name in ("cnn", "package"))
    assert cnn.read_bytes() != package.read_bytes()
    with Image.open(tmp_path / "out/sheet.jpg") as sheet:
        tiles = np.asarray(sheet.resize((6, 8), Image.Resampling.BOX), dtype=int)
    # Grey, both models, grey, both models; 17 of the 33 images, one of them broken.
    chroma = np.ptp(tiles, axis=2).mean(axis=0)
    assert chroma[[0, 3]].max() < 1 < chroma[[1, 2, 4, 5]].min()


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    ("words", "checkpoint"), [(("in", "."), "in=RUN"), (("in/a.jpg", "in"), "RUN")]
)
def test_originals_are_never_replaced(
    command, finished_run, images, tmp_path, monkeypatch, capsys, words, checkpoint, options
):
    monkeypatch.chdir(tmp_path)

    def state():
        return {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}

    before = state()
    model = checkpoint.replace("RUN", str(finished_run))
    assert command("colorize", *words, "--checkpoint", model, *options, "--limit", 1) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "OUTPUT is INPUT: the result of in/a.jpg would overwrite the image in/a.jpg" in line
    assert state() == before


def test_a_sheet_replaces_only_sheets(command, finished_run, images, tmp_path, capsys):
    out = tmp_path / "out"
    words = ("colorize", images, out, "--checkpoint", finished_run, "--sheet")
    out.mkdir()
    shutil.copy(images / "a.jpg", out / "sheet.jpg")
    before = (out / "sheet.jpg").read_bytes()
    assert command(*words) == 2
    assert "sheet.jpg, which is not a contact sheet; move it elsewhere\n" in capsys.readouterr().err
    assert os.listdir(out) == ["sheet.jpg"]
    assert (out / "sheet.jpg").read_bytes() == before
    assert command(*words, "--overwrite") == 0
    # A call that continues draws its own sheet again.
    (out / "a.jpg").unlink()
    stamp = (out / "sheet.jpg").stat().st_mtime_ns
    assert command(*words) == 0
    assert "1 colorized, 1 skipped" in capsys.readouterr().out
    assert (out / "sheet.jpg").stat().st_mtime_ns > stamp
    # Nor is it the place of a result.
    (images / "a.jpg").rename(images / "sheet.jpg")
    for options in ((), ("--overwrite",)):
        assert command(*words, *options) == 2
        assert "sheet.jpg, an image or a result; rename the image" in capsys.readouterr().err


def test_names_on_standard_input_may_contain_other_separators(
    command, finished_run, images, tmp_path, monkeypatch, capsys
):
    names = [images / f"a{separator}b.jpg" for separator in "\u2028\x85\x0b\x0c\x1c"]
    for name in names:
        shutil.copy(images / "a.jpg", name)
    for case, end in enumerate(("\n", "\r\n", "\0")):
        given = "".join(f"{name}{end}" for name in names).encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))
        words = ("-", tmp_path / f"{case}", "--checkpoint", finished_run)
        assert command("colorize", *words) == 0
        assert "5 colorized, 0 skipped, 0 failed" in capsys.readouterr().out


def test_a_dry_run_names_the_images_that_failed(command, finished_run, images, tmp_path, capsys):
    (images / "broken\x1b.jpg").write_bytes(b"no image")
    words = ("colorize", images, tmp_path / "out", "--checkpoint", finished_run, "--dry-run")
    assert command(*words) == 1
    output = capsys.readouterr()
    assert "3 images to colorize" in output.out
    assert "from 2 images" in output.out
    assert output.err.endswith(f"not colorized: {images}/broken\\x1b.jpg: not an image\n")
    assert command(*words, "--json", "--quiet") == 1
    output = capsys.readouterr()
    failures = json.loads(output.out)["failures"]
    assert failures == {str(images / "broken\x1b.jpg"): "not an image"}
    assert output.err == ""


def test_the_manifest_says_why_a_file_is_no_image(command, finished_run, images, tmp_path):
    shutil.copy(images / "a.jpg", images / ".hidden.jpg")
    (images / "notes.txt").touch()
    (images / ".notes").touch()
    os.mkfifo(images / "pipe.png")
    assert command("colorize", images, tmp_path / "out", "--checkpoint", finished_run) == 0
    reasons = {Path(line["input"]).name: line["reason"] for line in _lines(tmp_path / "out")}
    assert reasons == {
        "a.jpg": "",
        "b.png": "",
        "notes.txt": "its name has no image suffix",
        ".notes": "its name has no image suffix",
        ".hidden.jpg": "it is hidden",
        "pipe.png": "not a regular file",
    }


@pytest.mark.slow
def test_processes_of_several_devices_end_with_a_killed_command(finished_run, images, tmp_path):
    for index in range(300):
        shutil.copy(images / "a.jpg", images / f"copy{index}.jpg")
    out = tmp_path / "out"
    words = [sys.executable, "-m", "lightning_colorize", "colorize", images, out]
    options = ["--checkpoint", finished_run, "--device", "cpu", "--devices", "2", "--quiet"]
    process = subprocess.Popen([*words, *options], stdout=subprocess.PIPE)
    while len(list(out.glob("*.jpg"))) < 1:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    # Standard output ends when the last process that holds it has ended.
    process.communicate(timeout=60)
    assert len(list(out.glob("*.jpg"))) < 150


@pytest.mark.slow
def test_several_devices_share_the_images(command, finished_run, images, tmp_path, capsys):
    (images / "broken.jpg").write_bytes(b"no image")
    words = ("colorize", images, tmp_path / "out", "--checkpoint", finished_run)
    words += ("--device", "cpu", "--devices")
    assert command(*words, 2) == 1
    assert "2 colorized, 0 skipped, 1 failed" in capsys.readouterr().out
    assert len(_lines(tmp_path / "out")) == 3
    # Each process reports an error of its own.
    (tmp_path / "out/manifest.jsonl").unlink()
    (tmp_path / "out/manifest.jsonl").symlink_to("/dev/full")
    assert command(*words, 2) == 1
    assert "manifest.jsonl cannot be written: No space left" in capsys.readouterr().err
