import json
import os
import shutil

import pytest
import yaml
from PIL import Image

from lightning_colorize.common.bundled import bundled
from lightning_colorize.metrics import BASELINES
from lightning_colorize.metrics.spec import NAMES

METRICS = set(NAMES)


def _evaluate(command, tmp_path, *words):
    path = tmp_path / "numbers.json"
    code = command("evaluate", *words, "--json", path, "--device", "cpu")
    return code, json.loads(path.read_text())


def test_numbers_match_the_end_of_training(command, finished_run, photo_folder, tmp_path, capsys):
    code, numbers = _evaluate(command, tmp_path, finished_run, "--data", photo_folder)
    assert code == 0
    result = json.loads((finished_run / "result.json").read_text())
    expected = {"model": result["metrics"], **result["baselines"]}
    assert set(numbers["metrics"]) == {"model", *BASELINES}
    for name, row in numbers["metrics"].items():
        assert set(row) == METRICS
        for metric, value in row.items():
            assert value == pytest.approx(expected[name][f"test/{metric}"], rel=1e-4, abs=1e-5)
    assert (numbers["split"], numbers["size"], numbers["images"]) == ("test", 32, 3)
    assert numbers["checkpoint"] == str(finished_run / "checkpoints/best.ckpt")
    assert numbers["groups"] == {}
    assert numbers["seconds"] > 0
    assert "torch" in numbers["versions"]

    heading, *rows, colors, last = capsys.readouterr().out.splitlines()
    assert set(heading.split()) == METRICS
    assert [row.split()[0] for row in rows] == ["model", *BASELINES]
    assert colors.endswith(f"color diversity {numbers['colors']['color_diversity']:.3f}")
    assert last.startswith(f"3 test images of {photo_folder} at 32 px")


def test_predictions_that_are_not_finite_have_no_metrics(
    command, diverged, photo_folder, tmp_path, capsys
):
    code, numbers = _evaluate(command, tmp_path, diverged, "--data", photo_folder)
    assert code == 1
    assert "predicts colors that are not finite" in capsys.readouterr().err
    assert numbers["metrics"]["model"]["psnr"] is None
    assert numbers["metrics"]["grey"]["psnr"] is not None


def test_a_plain_folder_is_evaluated_whole_or_by_the_splits_of_fit(
    command, finished_run, photo_folder, tmp_path
):
    for words, split, images in [
        ((photo_folder / "train", "--group-by", "folder"), "all", 12),
        ((photo_folder, "--split", "all", "--batch-size", 7), "all", 20),
        ((photo_folder, "--split", "val", "--size", 48), "val", 5),
    ]:
        code, numbers = _evaluate(command, tmp_path, finished_run, "--data", *words)
        assert (code, numbers["split"], numbers["images"]) == (0, split, images)
        assert numbers["groups"] == {}
    assert numbers["size"] == 48


def test_groups_are_sub_folders_and_add_up(command, finished_run, photo_folder, tmp_path, capsys):
    data = tmp_path / "data"
    (data / "cats" / "deep").mkdir(parents=True)
    (data / "test").mkdir()  # no split
    files = sorted((photo_folder / "train").iterdir())
    for number, file in enumerate(files):
        shutil.copy(file, data / ("cats/deep" if number < 5 else "test") / file.name)
    shutil.copy(files[0], data / "loose.png")
    words = (finished_run, "--data", data, "--group-by", "folder", "--batch-size", "4")
    code, numbers = _evaluate(command, tmp_path, *words)
    assert code == 0
    groups = numbers["groups"]
    assert {name: g["images"] for name, g in groups.items()} == {".": 1, "cats": 5, "test": 7}
    psnr = [g["images"] * g["metrics"]["lut"]["psnr"] / 13 for g in groups.values()]
    assert sum(psnr) == pytest.approx(numbers["metrics"]["lut"]["psnr"], rel=1e-4)
    shown = capsys.readouterr().out
    assert all(title in shown for title in (". (1)", "cats (5)", "test (7)", "all"))


def test_broken_images_are_left_out_and_reported(
    command, finished_run, photo_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    shutil.copytree(photo_folder / "test", data)
    (data / "broken.jpg").write_bytes(b"no image")
    Image.new("L", (40, 40), 90).save(data / "grey.jpg")
    code, numbers = _evaluate(command, tmp_path, finished_run, "--data", data)
    assert code == 1
    assert (numbers["images"], numbers["unreadable"]) == (4, 1)
    output = capsys.readouterr()
    assert "1 of 4 images have no color\n" in output.err
    assert "1 broken" in output.err
    assert output.out.endswith("; 1 could not be read\n")
    for file in data.iterdir():
        file.write_bytes(b"no image")
    assert command("evaluate", finished_run, "--data", data) == 2
    assert "none of the images can be read" in capsys.readouterr().err


def test_parts_of_the_truth_are_tables_and_in_the_file(
    command, finished_run, photo_folder, tmp_path, capsys
):
    words = (finished_run, "--data", photo_folder, "--group-by", "hue,chroma")
    _, numbers = _evaluate(command, tmp_path, *words)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    for by in ("hue", "chroma"):
        assert sum(part["share"] for part in numbers[by]) == pytest.approx(1)
        # Weighted by pixels, the parts are the whole.
        parts = [(p["share"], p["rows"]["model"]["ciede2000"]["value"]) for p in numbers[by]]
        total = sum(share * value for share, value in parts if share)
        assert total == pytest.approx(numbers["metrics"]["model"]["ciede2000"], rel=1e-4)
        first = next(i for i, line in enumerate(shown) if line[:1] == [by])
        names = [line[0] for line in shown[first + 1 :][: len(numbers[by])]]
        assert names == [part["name"] for part in numbers[by]]
    assert numbers["groups"] == {}


@pytest.fixture
def run_on(finished_run, tmp_path):
    """A function that returns a copy of a run whose configuration has other data."""

    def change(root, source=None):
        run = tmp_path / "runs" / "tiny" / "copy"
        shutil.copytree(finished_run, run, dirs_exist_ok=True)
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["data"] |= {"root": str(root), "source": source}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        return run

    return change


_SOURCES = "lightning_colorize.data.sources"


def test_splits_are_those_of_the_run(command, photo_folder, run_on, tmp_path):
    counts = {"splits": {"train": 5, "val": 2, "test": 5}}  # unlike the default shares of fit
    folder = photo_folder / "train"
    run = run_on(folder, {"class_path": f"{_SOURCES}.FolderSource", "init_args": counts})
    _, numbers = _evaluate(command, tmp_path, run, "--data", folder)
    assert (numbers["split"], numbers["images"]) == ("test", 5)

    listed = tmp_path / "list.csv"
    files = sorted(photo_folder.glob("train/*"))[:5]
    rows = [f"{file},{'train' if i < 3 else 'test'}" for i, file in enumerate(files)]
    listed.write_text("\n".join(["path,split", *rows]))
    run = run_on(listed, {"class_path": f"{_SOURCES}.ManifestSource", "init_args": {}})
    _, numbers = _evaluate(command, tmp_path, run, "--data", listed)
    assert (numbers["split"], numbers["images"]) == ("test", 2)
    _, numbers = _evaluate(command, tmp_path, run, "--data", listed, "--split", "all")
    assert (numbers["split"], numbers["images"]) == ("all", 5)

    sets = tmp_path / "sets"
    shutil.copytree(photo_folder / "train", sets / "faces")
    shutil.copytree(photo_folder / "val", sets / "hills")
    folders = [
        {"root": "faces", "include": "*.png", "splits": {"train": 2, "test": 4}},
        {"root": "hills", "weight": 2.0, "splits": {"train": 4, "test": 1}, "exclude_list": None},
    ]
    mixture = {"class_path": f"{_SOURCES}.MixtureSource", "init_args": {"folders": folders}}
    words = (run_on(sets, mixture), "--data", sets, "--group-by", "folder")
    _, numbers = _evaluate(command, tmp_path, *words)
    counts = {name: group["images"] for name, group in numbers["groups"].items()}
    assert counts == {"faces": 4, "hills": 1}


def test_training_images_are_counted(command, finished_run, photo_folder, run_on, capsys):
    def warning(*words):
        assert command("evaluate", *words) == 0
        return capsys.readouterr().err

    hint = "--split test excludes them"
    for run, data, split, remark in [
        (finished_run, photo_folder, "all", f"12 of these 20 are training images; {hint}\n"),
        (finished_run, photo_folder, "train", ""),
        (finished_run, photo_folder / "train", "all", "12 of these 12 are training images\n"),
        # The training images are elsewhere now, or on another machine.
        (run_on("/nowhere"), photo_folder, "all", ""),
    ]:
        assert warning(run, "--data", data, "--split", split) == remark


def test_a_lone_checkpoint_warns_of_possible_training_images(
    command, finished_run, photo_folder, tmp_path, capsys
):
    alone = shutil.copy(finished_run / "checkpoints/best.ckpt", tmp_path / "best.ckpt")
    for data, default_split in ((photo_folder, True), (photo_folder / "train", False)):
        assert command("evaluate", alone, "--data", data) == 0
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "some of these images may be training images" in err
        assert ("this is fit's default split" in err) == default_split
    other = shutil.copytree(photo_folder / "test", tmp_path / "other")
    assert command("evaluate", alone, "--data", other) == 0
    assert capsys.readouterr().err == ""
    assert command("evaluate", "default", "--data", other, "--size", 32) == 0
    assert "training images are listed in " in capsys.readouterr().err


@pytest.mark.parametrize("more", [["evaluate"], ["tune-decoding", "strength=1"]])
def test_a_run_whose_training_images_are_unknown_is_refused(
    command, finished_run, photo_folder, tmp_path, capsys, more
):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "config.yaml").write_text("[")
    name, *settings = more
    assert command(name, run, *settings, "--data", photo_folder) == 2
    assert "config.yaml: line 2: did not find" in capsys.readouterr().err


def test_a_configuration_imports_no_foreign_class(command, photo_folder, run_on, capsys):
    run = run_on(photo_folder, {"class_path": "os.system", "init_args": {"command": "false"}})
    assert command("evaluate", run, "--data", photo_folder) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"os.system cannot be imported: {os.__file__} has no class system\n" in err
    # For images of another folder its source is not needed.
    assert command("evaluate", run, "--data", photo_folder / "test") == 0


def test_samples_have_a_score_with_an_interval(command, obeys, photo_folder, tmp_path, capsys):
    words = ("--data", photo_folder, "--samples", 3)
    first, again, other = (
        _evaluate(command, tmp_path, *obeys("noise: 9"), *words, "--seed", seed)[1]
        for seed in (5, 5, 6)
    )
    energy, row = first["intervals"]["model"]["energy"], first["metrics"]["model"]
    assert (first["samples"], energy["value"]) == (3, row["energy"])
    assert energy["low"] < energy["value"] < energy["high"]
    assert again["metrics"] == first["metrics"]
    assert other["metrics"]["model"]["energy"] != row["energy"]
    shown = capsys.readouterr().out
    assert f"energy {energy['value']:.2f}, 95 % interval {energy['low']:.2f} to" in shown
    assert f"{row['best_psnr']:.2f}" in shown


def test_hints_palettes_and_labels_are_asked_for(command, obeys, photo_folder, tmp_path, capsys):
    data = tmp_path / "data"
    for name in ("red", "green"):
        shutil.copytree(photo_folder / "test", data / name)
    words = ("--data", data, "--hint-points", "0,3", "--palettes", "--labels")
    code, numbers = _evaluate(command, tmp_path, *obeys("noise: 9"), *words)
    assert code == 0
    rows = numbers["conditions"]
    assert len(rows) == 1 + 2 * 4 + 2 + 2
    psnr = rows["hints 3, optimized"]["psnr"]
    assert psnr["low"] < psnr["value"] < psnr["high"]
    assert rows["right label"]["psnr"] != rows["wrong label"]["psnr"]
    shown = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert [name for name in shown if name in rows] == [*rows]


def test_references_and_the_gain_of_hints_are_measured(command, finished_run, tmp_path, capsys):
    for folder in ("food", "more food"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        shutil.copy(bundled("photographs") / "coffee.jpg", tmp_path / "data" / folder)
    words = (finished_run, "--data", tmp_path / "data", "--size", 96)
    words += ("--references", "--hint-points", 2)
    code, numbers = _evaluate(command, tmp_path, *words)
    assert code == 0
    rows = numbers["conditions"]
    assert [*rows][-4:] == [
        *("the image itself", "its mirror image", "another frame", "an unrelated image")
    ]
    assert rows["the image itself"]["psnr"]["value"] > rows["nothing"]["psnr"]["value"]
    assert rows["the image itself"]["corresponding"]["value"] > 0.9
    assert rows["an unrelated image"] == rows["the image itself"]  # of the other folder
    shown = capsys.readouterr().out
    heading = next(line for line in shown.splitlines() if line.startswith("asked for"))
    assert "corresponding" in heading.split()
    assert "palette_distance" not in heading  # no row has it
    gain = rows["hints 2"]["gain"]
    interval = f"95 % interval {gain['low']:+.2f} to {gain['high']:+.2f}"
    assert f"hints 2: {gain['value']:+.2f} dB over the best other, {interval}\n" in shown
