import json
import shutil

import pytest

from lightning_colorize.metrics import BASELINES

METRICS = {
    "mse_ab", "psnr", "ssim", "ciede2000", "colorfulness", "colorfulness_ratio", "hue_r",
}  # fmt: skip


def _evaluate(command, tmp_path, *words):
    path = tmp_path / "numbers.json"
    code = command("evaluate", *words, "--json", path, "--device", "cpu")
    return code, json.loads(path.read_text())


def test_the_numbers_are_those_of_the_end_of_training(
    command, finished_run, photo_folder, tmp_path, capsys
):
    code, numbers = _evaluate(command, tmp_path, finished_run, "--data", photo_folder)
    assert code == 0
    result = json.loads((finished_run / "result.json").read_text())
    expected = {"model": result["metrics"], **result["baselines"]}
    assert set(numbers["metrics"]) == {"model", *BASELINES}
    for name, row in numbers["metrics"].items():
        assert set(row) == METRICS
        for metric, value in row.items():
            assert value == pytest.approx(expected[name][f"test/{metric}"], rel=1e-4, abs=1e-5)
    assert (numbers["split"], numbers["size"], numbers["pictures"]) == ("test", 32, 3)
    assert numbers["checkpoint"] == str(finished_run / "checkpoints/best.ckpt")
    assert numbers["groups"] == {}
    assert len(numbers["model_seconds"]) == 1
    assert 0 < sum(numbers["model_seconds"]) < numbers["seconds"]
    assert "torch" in numbers["versions"]

    heading, *rows, last = capsys.readouterr().out.splitlines()
    assert set(heading.split()) == METRICS
    assert [row.split()[0] for row in rows] == ["model", *BASELINES]
    psnr = heading.split().index("psnr")
    assert float(rows[0].split()[1 + psnr]) == pytest.approx(
        numbers["metrics"]["model"]["psnr"], abs=0.005
    )
    assert last.startswith(f"3 test pictures of {photo_folder} at 32 px")


def test_a_plain_folder_is_evaluated_whole_or_by_fit_s_splits(
    command, finished_run, photo_folder, tmp_path
):
    for words, split, pictures in [
        ((photo_folder / "train",), "all", 12),
        ((photo_folder, "--split", "all", "--batch-size", 7), "all", 20),
        ((photo_folder, "--split", "val", "--size", 48), "val", 5),
    ]:
        code, numbers = _evaluate(command, tmp_path, finished_run, "--data", *words)
        assert (code, numbers["split"], numbers["pictures"]) == (0, split, pictures)
    assert numbers["size"] == 48
    counts = []
    for split in ("train", "val", "test"):
        words = ("--data", photo_folder / "train", "--split", split)
        counts.append(_evaluate(command, tmp_path, finished_run, *words)[1]["pictures"])
    assert sum(counts) == 12
    assert min(counts) >= 1


def test_groups_are_sub_folders_and_add_up(command, finished_run, photo_folder, tmp_path, capsys):
    data = tmp_path / "data"
    (data / "cats" / "deep").mkdir(parents=True)
    (data / "dogs").mkdir()
    files = sorted((photo_folder / "train").iterdir())
    for number, file in enumerate(files):
        shutil.copy(file, data / ("cats/deep" if number < 5 else "dogs") / file.name)
    shutil.copy(files[0], data / "loose.png")
    words = (finished_run, "--data", data, "--group-by", "folder", "--batch-size", "4")
    code, numbers = _evaluate(command, tmp_path, *words)
    assert code == 0
    groups = numbers["groups"]
    assert {name: g["pictures"] for name, g in groups.items()} == {".": 1, "cats": 5, "dogs": 7}
    for row in ("model", "lut"):
        for metric in METRICS - {"colorfulness_ratio", "hue_r"}:
            total = sum(g["pictures"] * g["metrics"][row][metric] for g in groups.values())
            assert total / 13 == pytest.approx(numbers["metrics"][row][metric], rel=1e-4, abs=1e-4)
    shown = capsys.readouterr().out
    assert all(title in shown for title in (". (1)", "cats (5)", "dogs (7)", "all"))

    _, cats = _evaluate(command, tmp_path, finished_run, "--data", data / "cats")
    for metric, value in cats["metrics"]["model"].items():
        assert value == pytest.approx(
            groups["cats"]["metrics"]["model"][metric], rel=1e-4, abs=1e-4
        )


def test_categories_lie_below_the_folders_of_splits(command, finished_run, photo_folder, tmp_path):
    data = tmp_path / "data"
    for split in ("train", "val", "test"):
        for category in ("a", "b"):
            shutil.copytree(photo_folder / "test", data / split / category)
    words = (finished_run, "--data", data, "--group-by", "folder")
    _, numbers = _evaluate(command, tmp_path, *words)
    assert {name: g["pictures"] for name, g in numbers["groups"].items()} == {"a": 3, "b": 3}
    _, numbers = _evaluate(command, tmp_path, *words, "--split", "all")
    assert {name: g["pictures"] for name, g in numbers["groups"].items()} == {"a": 9, "b": 9}


def test_broken_pictures_are_left_out_and_said(
    command, finished_run, photo_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    shutil.copytree(photo_folder / "test", data)
    (data / "broken.jpg").write_bytes(b"no picture")
    code, numbers = _evaluate(command, tmp_path, finished_run, "--data", data)
    assert code == 1
    assert (numbers["pictures"], numbers["unreadable"]) == (3, 1)
    assert "1 broken" in capsys.readouterr().err
    for file in data.iterdir():
        file.write_bytes(b"no picture")
    assert command("evaluate", finished_run, "--data", data) == 2
    assert "none of 4 pictures" in capsys.readouterr().err


def test_training_pictures_among_them_are_said(command, photo_folder, tmp_path, capsys):
    run = command.fit("plain", "--data.root", photo_folder / "train", "--trainer.max_epochs", 1)
    capsys.readouterr()
    assert command("evaluate", run, "--data", photo_folder / "train") == 0
    assert "--split test" in capsys.readouterr().err
    code, numbers = _evaluate(
        command, tmp_path, run, "--data", photo_folder / "train", "--split", "test"
    )
    assert code == 0
    assert "--split test" not in capsys.readouterr().err
    psnr = json.loads((run / "result.json").read_text())["metrics"]["test/psnr"]
    assert numbers["metrics"]["model"]["psnr"] == pytest.approx(psnr, rel=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("RUN", "--data", "nowhere"), "nowhere does not exist"),
        (("nowhere", "--data", "PHOTOS"), "nowhere does not exist"),
        (("RUN",), "--data"),
        (("RUN", "--data", "PHOTOS", "--size", "0"), "--size 0"),
        (("RUN", "--data", "PHOTOS", "--batch-size", "0"), "--batch-size 0"),
        (("RUN", "--data", "RUN", "--split", "val"), "val"),
        (("RUN", "--data", "PARTS", "--split", "test"), "has no test pictures, only train, val"),
    ],
)
def test_wrong_use_is_one_line(
    command, finished_run, photo_folder, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    parts = tmp_path / "parts"
    for split in ("train", "val"):
        shutil.copytree(photo_folder / split, parts / split)
    places = {"RUN": finished_run, "PHOTOS": photo_folder, "PARTS": parts}
    assert command("evaluate", *[places.get(word, word) for word in words]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("lightning-colorize: ")
    assert output.err.count("\n") == 1
    assert message in output.err
