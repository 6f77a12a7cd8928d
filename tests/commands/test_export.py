import json

import pytest

from lightning_colorize.inference import load_model


def test_an_exported_file_takes_the_place_of_its_checkpoint(
    command, finished_run, photo_folder, tmp_path, capsys
):
    file = tmp_path / "small.safetensors"
    assert command("export", finished_run, file, "--strength", 1.3, "--size", 48) == 0
    assert str(file) in capsys.readouterr().out
    card = (tmp_path / "small.safetensors.md").read_text()
    assert "short side of 48 pixels" in card
    assert "strength 1.3" in card
    assert "test/psnr" in card
    assert str(finished_run) not in card  # folders of this machine
    model = load_model(file)
    assert (model.decoding["strength"], model.size) == (1.3, 48)
    rows = []
    for words in ([file, "--size", 32], [finished_run, "--strength", 1.3]):
        numbers = tmp_path / "numbers.json"
        words += ["--data", photo_folder, "--split", "all", "--json", numbers]
        assert command("evaluate", *words) == 0
        rows.append(json.loads(numbers.read_text())["metrics"])
    assert rows[0].keys() == rows[1].keys()
    for name, row in rows[0].items():
        assert row == pytest.approx(rows[1][name], rel=0.01, abs=0.02)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.ckpt"], "must end with .safetensors or .onnx or .pt2"),
        (["model.onnx", "--format", "torch-export"], "must end with .pt2"),
        (["new.safetensors", "--whole-image"], "are for ONNX: give FILE.onnx"),
        (["carded.safetensors"], "carded.safetensors.md exists; --overwrite replaces it"),
        (["there.safetensors"], "exists; --overwrite replaces it"),
        (["new.safetensors", "--size", "0"], "must be above 0"),
        (["new.safetensors", "--vividness", "1"], "not trained with CrossEntropy"),
    ],
)
def test_wrong_use_is_one_line(
    command, finished_run, tmp_path, monkeypatch, words, message, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.safetensors").write_text("mine")
    (tmp_path / "carded.safetensors.md").write_text("mine")
    assert command("export", finished_run, *words) == 2
    assert message in capsys.readouterr().err
    assert [file.read_text() for file in tmp_path.glob("*.safetensors")] == ["mine"]


@pytest.mark.parametrize("file", ["a.safetensors", "a.onnx", "a.pt2", "page"])
def test_a_program_of_others_is_not_exported(command, tmp_path, file, capsys):
    (tmp_path / "their.yaml").write_text("command: their {input} {output}\n")
    words = ("--format", "web") if file == "page" else ()
    assert command("export", tmp_path / "their.yaml", tmp_path / file, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "their.yaml describes a program of others, which cannot be exported" in line
    assert not (tmp_path / file).exists()
