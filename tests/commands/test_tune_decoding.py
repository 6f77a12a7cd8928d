import json
import shutil

import torch

from lightning_colorize.metrics import BASELINES


def test_a_grid_prints_its_front_and_writes_all_settings(
    command, finished_run, photo_folder, tmp_path, capsys
):
    page, numbers = tmp_path / "grid.html", tmp_path / "numbers.json"
    words = ("strength=0,0.5,1", "flip=0,1", "--page", page, "--json", numbers)
    assert command("tune-decoding", finished_run, "--data", photo_folder, *words) == 0
    written = json.loads(numbers.read_text())
    assert written["split"] == "val"  # not the images of the final test
    assert len(written["settings"]) == 6
    assert set(written["baselines"]) == set(BASELINES)
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("strength")]
    front = [line.split("  ")[0] for line in shown]
    assert 1 <= len(front) <= 6
    html = page.read_text()
    assert html.count("<tr") == 1 + 6 + len(BASELINES)
    assert all(setting in html for setting in front)


def test_the_best_of_a_grid_is_stored_in_the_checkpoint(
    command, finished_run, photo_folder, tmp_path, capsys
):
    file = tmp_path / "copy.ckpt"
    shutil.copy(finished_run / "checkpoints/best.ckpt", file)
    words = ("--data", photo_folder, "--split", "all", "strength=0,1", "size=24")
    numbers = tmp_path / "numbers.json"
    assert command("tune-decoding", file, *words, "--store", 0, "--json", numbers) == 0
    rows = [
        row["metrics"]["ciede2000"]["value"] for row in json.loads(numbers.read_text())["settings"]
    ]
    best = float(rows.index(min(rows)))  # strength 0 or 1
    stored = capsys.readouterr().out.splitlines()[-1]
    assert stored.startswith(f"stored in {file}: ")
    checkpoint = torch.load(file, weights_only=True)
    assert checkpoint["decoding"]["size"] == 24
    assert checkpoint["decoding"]["strength"] == best
    for part in (f"strength {best:g}", "size 24", "flip 0"):  # what the grid does not name, too
        assert part in stored
