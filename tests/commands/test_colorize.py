import json

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab


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
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


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
    assert [line["status"] for line in _lines(out)] == ["ok", "ok", "skipped", "skipped"]

    assert command(*words, "--overwrite", "--size", 48) == 0
    assert "2 colorized" in capsys.readouterr().out
    assert (out / "a.jpg").stat().st_mtime_ns > stamp
    assert [line["size"] for line in _lines(out)][-2:] == [48, 48]


def test_one_image_to_one_file(command, finished_run, images, tmp_path):
    target = tmp_path / "new" / "colorized.webp"
    checkpoint = finished_run / "checkpoints/last.ckpt"
    assert command("colorize", images / "a.jpg", target, "--checkpoint", checkpoint) == 0
    assert Image.open(target).format == "WEBP"
    assert [path.name for path in target.parent.iterdir()] == ["colorized.webp"]


def test_fallbacks_are_reported(command, finished_run, tmp_path, capsys):
    image = tmp_path / "in" / "see-through.png"
    image.parent.mkdir()
    Image.new("RGBA", (40, 40), (90, 80, 70, 60)).save(image)
    checkpoint = ("--checkpoint", finished_run)
    assert command("colorize", image, tmp_path / "a.png", *checkpoint) == 0
    assert "a.png: transparency composited over white\n" in capsys.readouterr().err
    assert command("colorize", image.parent, tmp_path / "out", *checkpoint) == 0
    assert "1 with fallbacks: see the manifest\n" in capsys.readouterr().err
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("IN", "out", "--checkpoint", "nowhere"), "nowhere does not exist"),
        (("IN", "out", "--checkpoint", "IN/a.jpg"), "not a checkpoint"),
        (("IN", "out", "--checkpoint", "RUN", "--size", "0"), "--size 0"),
        (("IN", "out", "--checkpoint", "RUN", "--max-density", "0"), "--max-density 0"),
        (("IN/a.jpg", 300 * "x", "--checkpoint", "RUN"), "File name too long"),
    ],
)
def test_wrong_use_is_one_line(
    command, finished_run, images, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    replaced = [w.replace("IN", str(images)).replace("RUN", str(finished_run)) for w in words]
    assert command("colorize", *replaced) == 2
    output = capsys.readouterr()
    assert output.err.startswith("lightning-colorize: ")
    assert output.err.count("\n") == 1
    assert message in output.err
    assert output.out == ""
