"""The `sweep` command: trials, tables, exports and reports."""

import csv
import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lightning_colorize.commands import sweep_checks
from lightning_colorize.reports.sweep.images import image_strips
from lightning_colorize.sweeps import wandb
from lightning_colorize.sweeps.spec import read_sweep
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.study import create_study, open_study
from lightning_colorize.training.loggers import wandb_mode
from tests.sweeps.conftest import STUB, Engine


@pytest.fixture
def sweep(tmp_path):
    """Write a sweep file whose trials are a script of no imports; return its path."""
    engine = Engine(tmp_path)

    def write(parameters, **more):
        file = tmp_path / "sweep.yaml"
        content = {"name": "mine", **engine.source(parameters, **more)}
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return file

    return write


@pytest.fixture
def run(command, tmp_path):
    """Run a sweep with the local engine; returns the exit code."""

    def run(file, *more):
        words = ["--engine", "local", "--root", tmp_path / "runs", *more]
        return command("sweep", "run", file, *words)

    return run


def test_run_status_export_and_report(run, sweep, command, tmp_path, capsys):
    file = sweep({"x": {"values": [1, 3, 2]}})
    assert run(file) == 0
    folder = tmp_path / "runs/mine"
    assert f"report    {folder / 'report.html'}" in capsys.readouterr().out
    assert "Sweep mine" in (folder / "report.html").read_text()
    assert (folder / "sweep.yaml").read_text() == file.read_text()

    assert command("sweep", "status", folder) == 0
    assert "3 of 3 trials ended" in capsys.readouterr().out

    assert command("sweep", "export", folder) == 0
    shown = capsys.readouterr()
    assert shown.out.split() == [str(folder / "trials.csv"), str(folder / "trials.json")]
    expected = "no winner.yaml: trial 1 is the best, but its folder has no config.yaml\n"
    assert expected in shown.err
    with (folder / "trials.csv").open() as lines:
        values = {row["x"]: float(row["value"]) for row in csv.DictReader(lines)}
    assert values == {"1": 1, "3": 3, "2": 2}

    for number in (0, 1, 2):
        (folder / f"trial-000{number}/config.yaml").write_text(f"number: {number}\n")
    assert run(file) == 0
    assert (folder / "winner.yaml").is_file()
    capsys.readouterr()
    assert command("sweep", "export", folder) == 0
    names = ("trials.csv", "trials.json", "winner.yaml")
    assert capsys.readouterr().out.split() == [str(folder / name) for name in names]
    assert yaml.safe_load((folder / "winner.yaml").read_text()) == {"number": 1}

    (folder / "report.html").unlink()
    assert command("sweep", "report", folder, "--report-images", "-1") == 2
    assert command("sweep", "report", folder) == 0
    assert (folder / "report.html").is_file()


def test_a_failed_trial_is_reported_and_the_exit_code_is_1(run, sweep, capsys):
    assert run(sweep({"x": {"value": 1}, "do": {"values": ["finish", "fail"]}})) == 1
    assert "trial 1 failed: " in capsys.readouterr().err


def test_retry_failed_queues_failed_trials_again(run, sweep, command, tmp_path, capsys):
    file = sweep({"x": {"values": [1, 2]}, "do": {"value": "fail"}})
    assert run(file) == 1
    again = capsys.readouterr().err.splitlines()[-1].removeprefix("retry     lightning-colorize ")
    (tmp_path / "stub.py").write_text(STUB.replace('do == "fail"', "False"))
    folder = tmp_path / "runs/mine"
    assert command(*shlex.split(again), "--dry-run") == 0
    assert [row.state for row in rows(open_study(str(folder)))] == ["failed", "failed"]
    capsys.readouterr()
    assert command(*shlex.split(again)) == 0
    assert "failed trials queued again: 2" in capsys.readouterr().out
    assert [row.state for row in rows(open_study(str(folder)))] == ["finished", "finished"]


@pytest.mark.parametrize("action", ["join", "resume"])
def test_join_and_resume_check_the_environment_again(
    sweep, command, tmp_path, capsys, monkeypatch, action
):
    file = sweep({"x": {"values": [1]}}, command=["/bin/sh", "${envvar:NEEDED}", "${args}"])
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    study = create_study(read_sweep(file), tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    study.stop()
    if action == "join":
        study.resume()
    assert command("sweep", action, study.folder) == 2
    assert "needs NEEDED, which" in capsys.readouterr().err
    assert (study.stopped, rows(study)) == ("after" if action == "resume" else None, [])

    checked = []
    monkeypatch.setattr(sweep_checks, "check", lambda *_: checked.append(Path.cwd()))
    assert command("sweep", action, study.folder, "--dry-run") == 0
    assert (checked, Path.cwd()) == ([tmp_path / "start"], tmp_path)
    (tmp_path / "start").rmdir()
    assert command("sweep", action, study.folder) == 2
    assert f"started in {tmp_path / 'start'}, which does not exist here" in capsys.readouterr().err


def test_stop_and_resume(run, sweep, command, tmp_path, capsys):
    file = sweep({"x": {"values": [1, 2]}})
    folder = tmp_path / "runs/mine"
    create_study(read_sweep(file), tmp_path / "runs")
    assert command("sweep", "stop", folder) == 0
    assert command("sweep", "join", folder) == 2
    assert "sweep resume" in capsys.readouterr().err
    assert run(file) == 2
    assert [row.state for row in rows(open_study(str(folder)))] == []
    assert command("sweep", "resume", folder, "--workers", 2) == 0
    assert [row.state for row in rows(open_study(str(folder)))] == ["finished", "finished"]


def test_a_dry_run_prints_commands_and_leaves_nothing(run, sweep, tmp_path, capsys):
    assert run(sweep({"x": {"values": [1, 2, 3, 4]}}), "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [shlex.split(line)[-1] for line in lines] == ["--x=1", "--x=2", "--x=3"]
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_for_slurm_prints_the_batch_script_and_leaves_nothing(
    run, sweep, tmp_path, capsys
):
    pytest.importorskip("submitit")
    file = sweep({"x": {"values": [1, 2]}})
    assert run(file, "--dry-run", "--launcher", "slurm", "--time", "60", "--workers", "2") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("#!/bin/bash")
    assert printed.count("#SBATCH --time=60\n") == 1
    assert f"#SBATCH --output={tmp_path / 'runs/mine/slurm'}/" in printed
    assert not (tmp_path / "runs").exists()


def test_what_is_often_not_intended_is_remarked(run, sweep, tmp_path, capsys):
    exponents = {"distribution": "log_uniform", "min": 0.0001, "max": 0.01}
    parameters = {"x": exponents, "y": {**exponents, "distribution": "log_uniform_values"}}
    file = sweep(parameters, method="random")
    assert run(file, "--dry-run") == 0
    assert capsys.readouterr().err.splitlines() == [
        f"{file}: run_cap: missing, so method: random never ends; write one, such as run_cap: 20",
        f"{file}: parameters.x: log_uniform draws from 1 to 1.01, as min and max are exponents of "
        "e; log_uniform_values takes the limits themselves",
    ]
    assert run(sweep({"x": {"values": [1, 2]}}), "--dry-run") == 0
    assert capsys.readouterr().err == ""


@pytest.fixture
def logged_in(monkeypatch):
    """Pretend that W&B is available; returns the calls of its engine."""
    calls = []
    monkeypatch.setattr(wandb_mode, "wandb_mode", lambda _: SimpleNamespace(mode="online"))
    monkeypatch.setattr(wandb, "run_wandb", lambda *words: calls.append(words) or 0)
    return calls


def test_wandb_runs_a_sweep_if_logged_in(sweep, command, tmp_path, monkeypatch, logged_in):
    monkeypatch.chdir(tmp_path)
    assert command("sweep", "run", sweep({"x": {"value": 1}}), "--workers", 2) == 0
    assert [words[1:] for words in logged_in] == [(2, None)]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("engine", ["auto", "wandb"])
def test_a_dry_run_starts_nothing_with_wandb(
    sweep, command, tmp_path, capsys, monkeypatch, logged_in, engine
):
    monkeypatch.chdir(tmp_path)
    file = sweep({"x": {"values": [1, 2]}})
    assert command("sweep", "run", file, "--engine", engine, "--dry-run") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert logged_in == []


@pytest.mark.parametrize(
    "words",
    [["--launcher", "slurm"], ["--root", "else"], ["--seed", "4"], ["--storage", "sqlite:///x"]],
)
def test_options_of_the_local_engine_select_it(
    sweep, command, tmp_path, capsys, monkeypatch, logged_in, words
):
    monkeypatch.chdir(tmp_path)
    file = sweep({"x": {"values": [1, 2]}})
    assert command("sweep", "run", file, "--engine", "wandb", "--dry-run", *words) == 2
    assert f"{words[0]}: W&B stores the study" in capsys.readouterr().err
    assert command("sweep", "run", file, "--dry-run", *words) == 0
    assert f"engine    local: W&B's lacks {words[0]}" in capsys.readouterr().err
    assert logged_in == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0"], "--workers 0: it must be above 0"),
        (["--storage", "mysql://host/x"], "mysql"),
        (["--partition", "gpu"], "--partition is for --launcher slurm; give that too"),
    ],
)
def test_wrong_use_is_one_line(run, sweep, tmp_path, capsys, words, message):
    assert run(sweep({"x": {"value": 1}}), *words) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("runs/*/trial-*"))


def test_a_missing_sweep(command, tmp_path, capsys):
    for action in ("status", "stop", "resume", "join", "export", "report"):
        assert command("sweep", action, tmp_path / "none") == 2
        assert "does not exist" in capsys.readouterr().err


@pytest.mark.slow
def test_real_trials_and_their_images(run, command, sweep, photo_folder, tmp_path):
    """Two networks, the better one's configuration trains again, its images are on the page."""
    words = command.words("run", "--data.root", photo_folder)
    keep = [w for w in words if w not in ("--run.root", "--run.name", "run", str(command.root))]
    fit = [sys.executable, "-m", "lightning_colorize", "fit", *keep, "${args}"]
    file = sweep({"model.encoder.widths": {"values": ["[2,4]", "[4,8]"]}}, command=fit)
    assert run(file, "--workers", 2) == 0
    folder = tmp_path / "runs/mine"
    trials = rows(open_study(str(folder)))
    assert [row.state for row in trials] == ["finished", "finished"]
    result = json.loads((trials[1].folder / "result.json").read_text())
    assert trials[1].value == pytest.approx(result["metrics"]["val/psnr"])
    strips = image_strips(trials, 2)
    assert len(strips) == 2
    page = (folder / "report.html").read_text()
    for strip in strips:
        assert [tile.who for tile in strip.tiles] == ["grey", "trial 0", "trial 1", "truth"]
        assert len({tile.image.src for tile in strip.tiles}) > 2
        assert all(tile.image.src in page for tile in strip.tiles)
    again = ["--run.root", tmp_path / "again", "--run.name", "again"]
    assert command("fit", "--config", folder / "winner.yaml", *again) == 0
