import json
from functools import partial

_CONFIG = """{{seed_everything: {seed}, run: {{name: {name}}},
model: {{lr: {lr}, encoder: {{class_path: lightning_colorize.networks.encoders.{encoder}}}}},
data: {{root: /photographs/{seed}, size: 128}}}}
"""


def _make(root, experiment, name, psnr=None, *, lr=0.001, encoder="ResNet", seed=1, **result):
    folder = root / experiment / name
    folder.mkdir(parents=True)
    config = _CONFIG.format(seed=seed, name=name, lr=lr, encoder=encoder)
    (folder / "config.yaml").write_text(config)
    if psnr is not None:
        result = {
            "status": "finished",
            "metrics": {"val/psnr": psnr, "val/ciede2000": 30 - psnr},
            "baselines": {"grey": {"val/psnr": 21.5}},
            "epochs": 3,
            "seconds": 3725.4,
        } | result
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def _rows(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_best_run_is_first_and_unfinished_runs_are_marked(command, tmp_path, capsys):
    _make(tmp_path, "a", "good", 23.25)
    nothing = {"val/psnr": None, "val/ciede2000": 20.5}
    _make(tmp_path, "a", "diverged", 0.0, status="failed", metrics=nothing)
    _make(tmp_path, "a", "no_grey", 22.0, baselines={"grey": {"val/psnr": None}})
    costs = {"device_hours": 8.25, "steady_images_per_second": 310.5}
    _make(tmp_path, "b", "best", 24.0, **costs)
    _make(tmp_path, "b", "gone")
    assert command("runs", "list", "--root", tmp_path, "--json", tmp_path / "list.json") == 0
    heading, *rows = _rows(capsys)
    assert heading[:4] == ["run", "status", "val/psnr", "-"]
    assert [row[0] for row in rows] == ["b/best", "a/good", "a/no_grey", "a/diverged", "b/gone"]
    assert rows[1][:6] == ["a/good", "finished", "23.250", "+1.750", "3", "1:02:05"]
    assert rows[2][2:4] == ["22.000", "-"]
    assert rows[3][1:4] == ["failed", "-", "-"]
    assert rows[4][1] == "killed"
    best, *_, diverged, _ = json.loads((tmp_path / "list.json").read_text())
    assert costs.items() <= best.items()
    assert diverged["device_hours"] is None
    assert (diverged["value"], diverged["metrics"]) == (None, {"val/ciede2000": 20.5})


def test_a_minimized_metric_is_sorted_in_ascending_order(command, tmp_path, capsys):
    for name, psnr in (("x", 22.0), ("z", 24.0), ("y", 23.0)):
        _make(tmp_path, "a", name, psnr)
    assert command("runs", "list", "--root", tmp_path, "--sort", "ciede2000") == 0
    rows = _rows(capsys)
    assert "val/ciede2000" in rows[0]
    assert [row[0] for row in rows[1:]] == ["a/z", "a/y", "a/x"]
    assert [row[2] for row in rows[1:]] == ["6.000", "7.000", "8.000"]


def test_different_settings_are_shown_except_names_paths_and_seeds(command, tmp_path, capsys):
    _make(tmp_path, "a", "one", 24.0, lr=0.001, encoder="ResNet", seed=1)
    _make(tmp_path, "a", "two", 23.0, lr=0.01, encoder="VGG16", seed=2)
    _make(tmp_path, "a", "three", 22.0, lr=0.1, encoder="VGG16", seed=3)
    assert command("runs", "list", "--root", tmp_path, "--json", tmp_path / "list.json") == 0
    heading, *rows = _rows(capsys)
    assert heading[-2:] == ["lr", "encoder"]
    assert [" ".join(row[-2:]) for row in rows] == ["0.001 ResNet", "0.01 VGG16", "0.1 VGG16"]
    first = json.loads((tmp_path / "list.json").read_text())[0]
    assert first["differs"] == {
        "model.lr": "0.001",
        "model.encoder.class_path": "lightning_colorize.networks.encoders.ResNet",
    }


def test_one_broken_file_does_not_hide_the_other_runs(command, tmp_path, capsys):
    (_make(tmp_path, "a", "broken", 22.0) / "result.json").write_text("{")
    (_make(tmp_path, "a", "odd", 23.0) / "config.yaml").write_text("a: [")
    _make(tmp_path, "a", "good", 24.0)
    (_make(tmp_path, "b", "empty", 22.0) / "result.json").write_text("{}")
    assert command("runs", "list", "--root", tmp_path) == 0
    heading, *rows = _rows(capsys)
    assert heading[-1] == "time"
    assert [row[0] for row in rows] == ["a/good", "a/odd", "a/broken", "b/empty"]
    assert [row[1] for row in rows] == ["finished"] * 2 + ["unreadable"] * 2


def test_no_runs_is_one_line_and_no_error(command, tmp_path, capsys):
    assert command("runs", "list", "--root", tmp_path) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "no runs" in out


def test_wrong_use_and_one_experiment(command, error_of, tmp_path, capsys):
    refusal = partial(error_of, "runs", "list", "--root", tmp_path)
    assert "nowhere" in error_of("runs", "list", "--root", tmp_path / "nowhere")
    _make(tmp_path, "a", "one", 22.0)
    assert "available: val/ciede2000, val/psnr" in refusal("--sort", "lpips")
    assert "available: a" in refusal("--experiment", "b")
    _make(tmp_path, "b", "two", 23.0)
    capsys.readouterr()
    assert command("runs", "list", "--root", tmp_path, "--experiment", "b") == 0
    assert [row[0] for row in _rows(capsys)] == ["run", "b/two"]
    assert f"--json {tmp_path} is a folder" in refusal("--json", tmp_path)
