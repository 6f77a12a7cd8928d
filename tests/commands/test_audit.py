import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from lightning_colorize.cli import main
from lightning_colorize.data.audit import work
from lightning_colorize.data.audit.near import RADIUS
from lightning_colorize.data.sources import EmbeddedSource


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Five photographs for training, two for validation; read only."""
    squares = EmbeddedSource(region=128).splits(None)["val"]
    folder = tmp_path_factory.mktemp("sound")
    for number in range(7):
        split = folder / ("train" if number < 5 else "val")
        split.mkdir(exist_ok=True)
        rgb = squares.read(number).permute(1, 2, 0).numpy()
        Image.fromarray(rgb).save(split / f"{number}.jpg", quality=95)
    return folder


@pytest.fixture
def leaking(sound, tmp_path):
    """The same with a copy in each split, a half-size one in validation, and a grey image."""
    folder = tmp_path / "leaking"
    shutil.copytree(sound, folder)
    shutil.copy(folder / "train" / "0.jpg", folder / "val" / "[bold]copy.jpg")
    shutil.copy(folder / "train" / "2.jpg", folder / "train" / "two.jpg")
    with Image.open(folder / "train" / "1.jpg") as image:
        image.resize((64, 64)).save(folder / "val" / "half.jpg", quality=70)
    grey = np.random.default_rng(0).integers(0, 256, (80, 80), dtype=np.uint8)
    Image.fromarray(grey).save(folder / "train" / "grey.png")
    return folder


def test_nothing_wrong_is_exit_0(sound, capsys):
    assert main(["audit", str(sound)]) == 0
    out = capsys.readouterr().out
    assert "7 images (5 train, 2 val) in " in out
    assert out.rstrip().endswith("nothing to leave out")
    assert "more than one split" not in out


def test_leaks_are_exit_1_and_gone_without_the_listed_images(leaking, tmp_path, capsys):
    listed, report = tmp_path / "lists" / "out.txt", tmp_path / "found.json"
    words = ["audit", str(leaking)]
    assert main([*words, "--exclude-to", str(listed), "--json", str(report)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    rows = {line[:20].strip(): line[20:].split() for line in out.splitlines()[1:7]}
    counts = {kind: int(cells[0]) for kind, cells in rows.items()}
    assert counts == {
        "broken": 0,
        "near-grey": 1,
        "tiny (below 64 px)": 0,
        "CMYK": 0,
        "copies": 2,
        "near duplicates": 1,
    }
    assert "In more than one split: 2 (2 train and val)" in out
    assert "  val/[bold]copy.jpg = train/0.jpg\n" in out
    assert "  val/half.jpg ~ train/1.jpg\n" in out
    assert f"4 to leave out, listed in {listed}" in out
    excluded = ["train/grey.png", "train/0.jpg", "train/1.jpg", "train/two.jpg"]
    assert listed.read_text().splitlines()[1::2] == excluded

    found = json.loads(report.read_text())
    assert found["images"] == {"train": 7, "val": 4}
    assert found["leaks"] == 2
    assert [entry["name"] for entry in found["near_grey"]] == ["train/grey.png"]
    assert found["near_grey"][0]["chroma"] == pytest.approx(0, abs=0.01)
    assert found["duplicates"][0] == {
        "exact": True,
        "splits": ["train", "val"],
        "images": [
            {"name": "val/[bold]copy.jpg", "split": "val"},
            {"name": "train/0.jpg", "split": "train"},
        ],
    }
    assert [entry["name"] for entry in found["excluded"]] == excluded

    source = tmp_path / "source.yaml"
    source.write_text(
        "class_path: lightning_colorize.data.sources.FolderSource\n"
        f"init_args:\n  exclude_list: {listed}\n"
    )
    assert main([*words, "--source", str(source)]) == 0
    assert "7 images (3 train, 4 val)" in capsys.readouterr().out


def as_imagenet(leaking, folder):
    shutil.copytree(leaking / "train", folder / "Data" / "CLS-LOC" / "train" / "n01440764")
    shutil.copytree(leaking / "val", folder / "Data" / "CLS-LOC" / "val")
    return folder, {}


def as_manifest(leaking, folder):
    shutil.copytree(leaking, folder)
    paths = [f"{path.relative_to(folder)},{path.parent.name}" for path in folder.glob("*/*")]
    (folder / "list.csv").write_text("\n".join(["path,split", *paths]))
    return folder / "list.csv", {}


def as_pets(leaking, folder):
    (folder / "images").mkdir(parents=True)
    for number, path in enumerate(sorted(leaking.glob("*/*"))):
        shutil.copy(path, folder / "images" / f"hound_{number}{path.suffix}")
    return folder, {"breed": "hound", "splits": {"train": 7, "val": 4}}


def as_mixture(leaking, folder):
    shutil.copytree(leaking, folder / "own")
    return folder, {"folders": {"own": 1.0}}


@pytest.mark.parametrize(
    ("source", "lay_out"),
    [
        ("ImageNetSource", as_imagenet),
        ("ManifestSource", as_manifest),
        ("OxfordPetSource", as_pets),
        ("MixtureSource", as_mixture),
    ],
)
def test_a_source_takes_the_list_that_is_made_with_it(source, lay_out, leaking, tmp_path, capsys):
    root, settings = lay_out(leaking, tmp_path / "laid")
    listed, spec, report = (tmp_path / name for name in ("out.txt", "source.yaml", "found.json"))
    words = ["audit", str(root), "--source", str(spec), "--json", str(report)]

    def describe(**settings):
        class_path = f"lightning_colorize.data.sources.{source}"
        spec.write_text(json.dumps({"class_path": class_path, "init_args": settings}))

    describe(**settings)
    assert main([*words, "--exclude-to", str(listed)]) == 1
    assert f"4 to leave out, listed in {listed}" in capsys.readouterr().out
    describe(**settings, exclude_list=str(listed))
    assert main(words) == 0
    assert "nothing to leave out" in capsys.readouterr().out
    left = json.loads(report.read_text())
    assert left["excluded"] == left["duplicates"] == left["leaks_across_groups"] == []
    assert sum(left["images"].values()) == 11 - 4


def test_other_findings_alone_are_exit_0(sound, tmp_path, capsys):
    folder = tmp_path / "photos"
    shutil.copytree(sound, folder)
    shutil.copy(folder / "train" / "0.jpg", folder / "train" / "copy.jpg")
    (folder / "train" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert main(["audit", str(folder), "--min-side", "129"]) == 0
    out = capsys.readouterr().out
    assert "train/copy.jpg of train/0.jpg" in out or "train/0.jpg of train/copy.jpg" in out
    assert "9 to leave out: --exclude-to FILE lists them" in out


def test_in_a_folder_without_splits_each_name_says_its_split(tmp_path, sound, capsys):
    for number in range(40):
        shutil.copy(sound / "train" / "0.jpg", tmp_path / f"{number}.jpg")
    assert main(["audit", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "In more than one split: 1 (1 train and val and test)" in out
    assert ".jpg (test) = " in out
    assert ".jpg (train)" in out


def test_on_a_terminal_there_is_a_table_with_lines(sound, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["audit", str(sound)]) == 0
    out = capsys.readouterr().out
    assert "\u2500\u2500\u2500" in out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert max(map(len, plain.splitlines()[:9])) <= 80


def test_names_that_are_no_text_are_shown_and_listed(sound, tmp_path, capsys):
    folder = tmp_path / "photos"
    shutil.copytree(sound, folder)
    odd = b"odd\xff.jpg".decode("utf-8", "surrogateescape")
    try:
        shutil.copy(folder / "train" / "0.jpg", folder / "train" / odd)
    except OSError:
        pytest.skip("this file system takes only text for a name")
    listed = tmp_path / "out.txt"
    with Image.open(folder / "train" / odd) as image:
        image.resize((64, 64)).save(folder / "train" / "0.jpg")
        image.convert("L").save(folder / "train" / odd)
    assert main(["audit", str(folder), "--exclude-to", str(listed)]) == 0
    assert "odd\\udcff.jpg" in capsys.readouterr().out
    assert b"train/odd\xff.jpg\n" in listed.read_bytes()


def test_an_existing_list_is_not_overwritten(sound, tmp_path, capsys):
    listed = tmp_path / "out.txt"
    listed.write_text("mine")
    assert main(["audit", str(sound), "--exclude-to", str(listed)]) == 2
    assert (
        capsys.readouterr()
        .err.rstrip()
        .endswith(f"--exclude-to {listed} is there already: remove it, or name another file")
    )
    assert listed.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["none"], "none does not exist"),
        ([".", "--min-side", "0"], "--min-side 0: it must be above 0"),
        ([".", "--source", "none.yaml"], "--source none.yaml cannot be read"),
        ([".", "--source", "text.yaml"], "--source text.yaml describes no source"),
        ([".", "--source", "typo.yaml"], "typo.yaml describes no source (FolderSource.__init__()"),
        ([".", "--source", "value.yaml"], "--source value.yaml: max_images is 0"),
        ([".", "--source", "task.yaml"], "is not a Source"),
        ([".", "--json", "."], "--json . is a folder"),
    ],
)
def test_wrong_use_is_one_line(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = "class_path: lightning_colorize.data.sources.FolderSource\ninit_args: "
    (tmp_path / "text.yaml").write_text("no source\n")
    (tmp_path / "typo.yaml").write_text(folder + "{max_image: 3}\n")
    (tmp_path / "value.yaml").write_text(folder + "{max_images: 0}\n")
    (tmp_path / "task.yaml").write_text("class_path: lightning_colorize.tasks.RegressionTask\n")
    assert main(["audit", *words]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_an_interruption_is_exit_130_and_leaves_no_list(sound, tmp_path, monkeypatch, capsys):
    seen = []

    def look_at(images, index):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(index)
        return real(images, index)

    real = work.look_at
    monkeypatch.setattr(work, "look_at", look_at)
    listed = tmp_path / "out.txt"
    assert main(["audit", str(sound), "--exclude-to", str(listed)]) == 130
    assert capsys.readouterr().err == "lightning-colorize: interrupted\n"
    assert not listed.exists()


def test_a_leak_of_no_group_is_exit_1_and_named(tmp_path, capsys, monkeypatch, sound):
    """A pan whose second image goes with the first, while the third shows what it shows."""
    angles = {"test/0.jpg": 0.0, "test/1.jpg": 0.6, "train/2.jpg": 1.2, "val/3.jpg": 10.0}
    folder, report = tmp_path / "photos", tmp_path / "found.json"
    for number, name in enumerate(angles):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sound / "train" / f"{number}.jpg", folder / name)

    def look_at(images, index):
        look, error = real(images, index)
        name = images.name(index)
        angle = RADIUS * angles[name]
        look["descriptor"] = 0
        look["descriptor"][[0, 2]] = np.cos(angle), np.sin(angle)
        # Not that which is near both others is kept, but the largest.
        look["bytes"] = 20 if name == "test/0.jpg" else 10
        look["height"] = look["width"] = 128
        return look, error

    real = work.look_at
    monkeypatch.setattr(work, "look_at", look_at)
    assert main(["audit", str(folder), "--json", str(report)]) == 1
    out = capsys.readouterr().out
    assert "In more than one split: 1 (1 train and test)\n  test/1.jpg ~ train/2.jpg\n" in out
    found = json.loads(report.read_text())
    assert found["leaks"] == 1
    pair = [{"name": "test/1.jpg", "split": "test"}, {"name": "train/2.jpg", "split": "train"}]
    assert found["leaks_across_groups"] == [pair]
    assert len(found["excluded"]) == 1
