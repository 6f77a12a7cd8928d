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
