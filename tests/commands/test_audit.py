import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from lightning_colorize.cli import main
from lightning_colorize.data.name_list import read_name_list
from tests.data.audit.conftest import large_squares


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Five photographs for training, two for validation; read only."""
    folder = tmp_path_factory.mktemp("clean")
    for number, rgb in enumerate(large_squares()[:7]):
        split = folder / ("train" if number < 5 else "val")
        split.mkdir(exist_ok=True)
        Image.fromarray(rgb).save(split / f"{number}.jpg", quality=95)
    return folder


@pytest.fixture
def leaking(clean, tmp_path):
    """The same with a copy in each split, a half-size one in validation, and a grey image."""
    folder = shutil.copytree(clean, tmp_path / "leaking")
    shutil.copy(folder / "train" / "0.jpg", folder / "val" / "[bold]copy.jpg")
    shutil.copy(folder / "train" / "2.jpg", folder / "train" / "two.jpg")
    with Image.open(folder / "train" / "1.jpg") as image:
        image.resize((64, 64)).save(folder / "val" / "half.jpg", quality=70)
    grey = np.random.default_rng(0).integers(0, 256, (80, 80), dtype=np.uint8)
    Image.fromarray(grey).save(folder / "train" / "grey.png")
    return folder


def test_an_empty_exclusion_list_is_not_written(clean, tmp_path, capsys):
    listed = tmp_path / "out.txt"
    assert main(["audit", str(clean), "--exclude-to", str(listed)]) == 0
    assert f"nothing to leave out, so {listed} is not written" in capsys.readouterr().out
    assert not listed.exists()


def test_leaks_are_exit_1_and_resolved_by_the_exclusion_list(leaking, tmp_path, capsys):
    listed, report = tmp_path / "lists" / "out.txt", tmp_path / "report.json"
    words = ["audit", str(leaking)]
    assert main([*words, "--exclude-to", str(listed), "--json", str(report)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    counts = {line[:20].strip(): line[20:].split()[0] for line in out.splitlines()[1:8]}
    kinds = ["broken", "damaged JPEG", "near-grey", "tiny (below 64 px)", "CMYK", "copies"]
    assert counts == dict(zip([*kinds, "near duplicates"], "0010021", strict=True))
    assert "In more than one split: 2\n" in out
    assert "  val/[bold]copy.jpg = train/0.jpg\n" in out
    assert "  val/half.jpg ~ train/1.jpg\n" in out
    assert f"4 to leave out, listed in {listed}" in out
    excluded = ["train/grey.png", "train/0.jpg", "train/1.jpg", "train/two.jpg"]
    assert listed.read_text().splitlines()[1::2] == excluded

    content = json.loads(report.read_text())
    assert content["images"] == {"train": 7, "val": 4}
    assert content["leaks"] == 2
    assert [entry["name"] for entry in content["near_grey"]] == ["train/grey.png"]
    assert content["near_grey"][0]["chroma"] == pytest.approx(0, abs=0.01)
    assert content["duplicates"][0] == {
        "exact": True,
        "splits": ["train", "val"],
        "images": [
            {"name": "val/[bold]copy.jpg", "split": "val"},
            {"name": "train/0.jpg", "split": "train"},
        ],
    }
    assert [entry["name"] for entry in content["excluded"]] == excluded

    source = tmp_path / "source.yaml"
    source.write_text(
        "class_path: lightning_colorize.data.sources.FolderSource\n"
        f"init_args:\n  exclude_list: {listed}\n"
    )
    assert main([*words, "--source", str(source)]) == 0
    out = capsys.readouterr().out
    assert "7 images (3 train, 4 val)" in out
    assert out.rstrip().endswith("nothing to leave out")
    assert "more than one split" not in out


def test_pale_images_have_a_histogram_and_are_listed(clean, tmp_path, capsys):
    folder = shutil.copytree(clean, tmp_path / "photos")
    tint = np.random.default_rng(0).integers(0, 256, (80, 80, 1), dtype=np.uint8) // 2
    Image.fromarray(tint + np.array([0, 0, 24], np.uint8)).save(folder / "train" / "pale.png")
    (folder / "train" / "broken.jpg").write_bytes(b"no image")
    listed, report = tmp_path / "out.txt", tmp_path / "report.json"
    words = ["audit", str(folder), "--min-colorfulness", "15", "--min-side", "100"]
    assert main([*words, "--exclude-to", str(listed), "--json", str(report)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["tiny", "(below", "100", "px)", "1", "11.11%", "train/pale.png"] in lines
    assert ["pale", "(below", "15)", "1", "11.11%", "train/pale.png"] in lines
    assert ["from", "5", "1"] in lines
    assert "train/pale.png" in listed.read_text()
    content = json.loads(report.read_text())
    assert content["pale"][0]["colorfulness"] == pytest.approx(0.3 * 24, abs=0.01)
    assert content["colorfulness"]["5"] == 1
    assert sum(content["colorfulness"].values()) == 8


def test_names_in_a_folder_without_splits_show_their_split(tmp_path, clean, capsys):
    for number in range(40):
        shutil.copy(clean / "train" / "0.jpg", tmp_path / f"{number}.jpg")
    assert main(["audit", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "In more than one split: 1\n" in out
    assert ".jpg (test) = " in out
    assert ".jpg (train)" in out
    assert "39 to leave out: --exclude-to FILE lists them" in out


@pytest.mark.parametrize(
    ("name", "shown"), [(b"odd\xff.jpg", r"odd\udcff.jpg"), (b"odd\x1b[2J.jpg", r"odd\x1b[2J.jpg")]
)
def test_odd_names_are_shown_escaped_and_listed(clean, tmp_path, capsys, name, shown):
    folder = shutil.copytree(clean, tmp_path / "photos")
    odd = os.fsdecode(name)
    try:
        shutil.copy(folder / "train" / "0.jpg", folder / "train" / odd)
    except OSError:
        pytest.skip("this file system takes only text for a name")
    listed = tmp_path / "out.txt"
    with Image.open(folder / "train" / odd) as image:
        image.resize((64, 64)).save(folder / "train" / "0.jpg")
        image.convert("L").save(folder / "train" / odd)
    assert main(["audit", str(folder), "--exclude-to", str(listed)]) == 0
    assert shown in capsys.readouterr().out
    assert f"train/{shown}\n" in listed.read_text()
    assert f"train/{odd}" in read_name_list(listed)


def test_a_leak_across_groups_is_exit_1_and_named(tmp_path, capsys, clean):
    """The second image is cropped from the first, the third from the second."""
    cuts = {"test/0.png": 0, "test/1.png": 12, "train/2.png": 23}
    folder, report = tmp_path / "photos", tmp_path / "report.json"
    for name, cut in cuts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(clean / "train" / "0.jpg") as image:
            image.crop((cut, cut, 128 - cut, 128 - cut)).save(folder / name)
    (folder / "val").mkdir()
    shutil.copy(clean / "train" / "3.jpg", folder / "val" / "3.jpg")
    assert main(["audit", str(folder), "--json", str(report)]) == 1
    out = capsys.readouterr().out
    assert "In more than one split: 1\n  test/1.png ~ train/2.png\n" in out
    content = json.loads(report.read_text())
    assert content["leaks"] == 1
    pair = [{"name": "test/1.png", "split": "test"}, {"name": "train/2.png", "split": "train"}]
    assert content["leaks_across_groups"] == [pair]
    assert len(content["excluded"]) == 1
