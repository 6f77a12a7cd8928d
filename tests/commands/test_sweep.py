"""The `sweep` command: trials, tables, exports and reports."""

import errno
import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lightning_colorize.commands import sweep_actions, sweep_checks
from lightning_colorize.reports.sweep import image_strips
from lightning_colorize.sweeps.launch import WorkerOptions
from lightning_colorize.sweeps.process import STUDY
from lightning_colorize.sweeps.spec import read_sweep
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.study import create_study, open_study
from lightning_colorize.sweeps.worker import work
from lightning_colorize.training.loggers import wandb_mode
from tests.sweeps.conftest import STUB, Engine, states


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
    return lambda file, *more: command(
        *("sweep", "run", file, "--engine", "local", "--root", tmp_path / "runs", *more)
    )


@pytest.fixture
def in_this_process(monkeypatch):
    """The worker runs here: the processes of workers are tested in tests/sweeps/test_launch.py."""
    monkeypatch.setattr(
        sweep_actions,
        "run_workers",
        lambda workers, *_: work(open_study(workers.environment[STUDY], workers.words[-1])),
    )


@pytest.mark.usefixtures("in_this_process")
def test_run_status_export_and_report(run, sweep, command, tmp_path, capsys):
    file = sweep({"x": {"values": [1, 3, 2]}})
    assert run(file) == 0
    folder = tmp_path / "runs/mine"
    report = folder / "report.html"
    assert f"report    {report}" in capsys.readouterr().out
    assert (folder / "sweep.yaml").read_text().endswith(f"\n{file.read_text()}")
    assert not (folder / "winner.yaml").exists()

    assert command("sweep", "status", folder) == 0
    assert "3 of 3 trials ended" in capsys.readouterr().out
    assert command("sweep", "export", folder) == 0
    shown = capsys.readouterr()
    assert shown.out.split() == [str(folder / "trials.csv"), str(folder / "trials.json")]
    assert "no winner.yaml: trial 1 is the best, but its folder has no config.yaml" in shown.err

    (folder / "trial-0001/config.yaml").write_text("number: 1\n")
    assert run(file) == 0
    assert f"INPUT OUTPUT --checkpoint {folder}/trial-0001\n" in capsys.readouterr().out
    assert (folder / "winner.yaml").is_file()
    report.unlink()
    assert command("sweep", "report", folder, "--report-images", "-1") == 2
    capsys.readouterr()
    assert command("sweep", "report", folder) == 0
    assert "Sweep mine" in report.read_text()
    shown = capsys.readouterr()
    assert shown.out == f"{report}\n"
    assert f"lightning-colorize dashboard --study {folder}" in shown.err


@pytest.mark.usefixtures("in_this_process")
def test_retry_failed_queues_failed_trials_again(run, sweep, command, tmp_path, capsys):
    file = sweep({"x": {"values": [1, 2]}, "do": {"value": "fail"}})
    assert run(file) == 1
    shown = capsys.readouterr().err
    assert "trial 1 failed: exit code 1: boom" in shown
    again = shlex.split(shown.splitlines()[-1].removeprefix("retry     lightning-colorize "))
    (tmp_path / "stub.py").write_text(STUB.replace('do == "fail"', "False"))
    study = open_study(str(tmp_path / "runs/mine"))
    assert command(*again, "--dry-run") == 0
    assert states(study) == ["failed", "failed"]
    assert command(*again) == 0
    assert "failed trials queued again: 2" in capsys.readouterr().out
    again = [(row.number, row.state, row.value, row.reason) for row in rows(study)]
    assert again == [(0, "finished", 1.0, None), (1, "finished", 2.0, None)]
    assert study.retry_failed() == 0


@pytest.mark.parametrize("action", ["join", "resume"])
def test_join_and_resume_check_again_in_the_start_folder(
    sweep, command, tmp_path, capsys, monkeypatch, action
):
    file = sweep({"x": {"values": [1]}}, command=["/bin/sh", "${envvar:NEEDED}", "${args}"])
    start = tmp_path / "start"
    start.mkdir()
    monkeypatch.chdir(start)
    study = create_study(read_sweep(file), tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    if action == "resume":
        study.stop("after")
    assert command("sweep", action, study.folder) == 2
    assert "needs NEEDED, which" in capsys.readouterr().err
    assert study.stopped == ("after" if action == "resume" else None)
    assert states(study) == ["waiting"]

    checked = []
    monkeypatch.setattr(sweep_checks, "check", lambda *_: (checked.append(Path.cwd()) or [], []))
    assert command("sweep", action, study.folder, "--dry-run") == 0
    assert (checked, Path.cwd()) == ([start], tmp_path)
    start.rmdir()
    assert command("sweep", action, study.folder) == 2
    assert f"started in {start}, which does not exist here" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
def test_finished_trials_are_reused_and_an_edited_copy_is_refused(
    run, sweep, command, tmp_path, capsys
):
    assert run(sweep({"x": {"values": [1, 2]}})) == 0
    old, new = tmp_path / "runs/mine", tmp_path / "runs/more"
    for trial in old.glob("trial-*"):
        (trial / "config.yaml").write_text("seed_everything: 42\n")
    (old / "trial-0001/result.json").write_text('{"status": "finished", "metrics": {}}')
    file = sweep({"x": {"values": [2, 3]}, "seed_everything": {"values": [42, 43]}}, name="more")
    assert run(file, "--reuse", old) == 0
    assert "reused    1 finished trials of" in capsys.readouterr().out
    assert [row.values["x"] for row in rows(open_study(str(new)))] == [2, 3, 2, 3]
    began = [len((new / f"trial-000{n}/starts").read_text().splitlines()) for n in range(4)]
    assert began == [1, 1, 1, 1]
    same = (old / "trial-0001/starts").read_text()
    assert (
        (new / "trial-0000/starts").read_text() == same != (new / "trial-0002/starts").read_text()
    )
    other = sweep({"x": {"values": [2]}}, name="other", command=["true", "${args}"])
    assert run(other, "--reuse", old) == 2
    assert "its trials have another command" in capsys.readouterr().err

    copy = new / "sweep.yaml"
    copy.write_text(copy.read_text().replace("- 3", "- 4"))
    assert command("sweep", "resume", new) == 2
    assert "ignores: parameters.x.values: [2, 4] instead of [2, 3];" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
def test_a_full_disk_ends_with_the_command_that_resumes(run, sweep, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sweep_actions, "write_report", full)
    assert run(sweep({"x": {"values": [1]}})) == 1
    resume = f"lightning-colorize sweep resume {tmp_path / 'runs/mine'} --retry-failed"
    assert f"No space left on device; when that is fixed: {resume}" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
def test_stop_and_resume(run, sweep, command, tmp_path, capsys, monkeypatch):
    words = [sys.executable, "-SE", f"{tmp_path}/stub.py", "--root=${envvar:DATA_ROOT}", "${args}"]
    file = sweep({"x": {"values": [1, 2]}}, command=words)
    study = create_study(read_sweep(file), tmp_path / "runs")
    assert command("sweep", "stop", study.folder) == 0
    shown, resume = capsys.readouterr().out, f"lightning-colorize sweep resume {study.folder}"
    assert shown.endswith(f"none is running\nresume    DATA_ROOT=VALUE {resume}\n")
    monkeypatch.setenv("DATA_ROOT", "my photos")
    assert command("sweep", "join", study.folder) == 2
    assert "sweep resume" in capsys.readouterr().err
    assert command("sweep", "status", study.folder) == 0
    shown = capsys.readouterr().out
    assert shown.endswith(f"stopped   resume with DATA_ROOT='my photos' {resume}\n")
    assert run(file) == 2
    assert states(study) == ["waiting"] * 2
    assert command("sweep", "resume", study.folder) == 0
    assert states(study) == ["finished", "finished"]


@pytest.mark.usefixtures("in_this_process")
def test_one_of_several_sweeps_in_a_database_is_joined(command, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    one, two = (Engine(tmp_path).study({"x": [1]}, url, name=name) for name in ("one", "two"))
    assert command("sweep", "join", url, "--name", "two") == 0
    assert (states(one), states(two)) == (["waiting"], ["finished"])


def test_a_dry_run_prints_commands_or_a_batch_script_alone(run, sweep, tmp_path, capsys):
    file = sweep({"x": {"values": [1, 2, 3, 4]}})
    assert run(file, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [shlex.split(line)[-1] for line in lines] == ["--x=1", "--x=2", "--x=3"]
    pytest.importorskip("submitit")
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
    cap, exponent = capsys.readouterr().err.splitlines()
    assert cap.startswith(f"{file}: run_cap: missing, so method: random never ends; ")
    assert exponent.startswith(f"{file}: parameters.x: log_uniform draws from 1 to 1.01, since ")
    assert run(sweep({"x": {"values": [1, 2]}}), "--dry-run") == 0
    assert capsys.readouterr().err == ""


@pytest.fixture
def logged_in(monkeypatch):
    """Pretend that W&B is available; returns the calls of its engine."""
    calls = []
    monkeypatch.setattr(wandb_mode, "wandb_mode", lambda _: SimpleNamespace(mode="online"))
    monkeypatch.setattr(sweep_actions, "launch_wandb", lambda *words: calls.append(words) or 0)
    return calls


def test_wandb_runs_a_sweep_if_logged_in(sweep, command, tmp_path, capsys, monkeypatch, logged_in):
    monkeypatch.chdir(tmp_path)
    for engine in ("auto", "wandb"):
        words = ("sweep", "run", sweep({"x": {"values": [1, 2]}}), "--engine", engine)
        assert command(*words, "--dry-run") == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
        assert logged_in == []
    assert command(*words, "--workers", 2) == 0
    assert [words[1:] for words in logged_in] == [(Path("runs"), WorkerOptions(2))]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [["--seed", "4"], ["--storage", "sqlite:///x"]])
def test_options_of_the_local_engine_select_it(
    sweep, command, tmp_path, capsys, monkeypatch, logged_in, words
):
    monkeypatch.chdir(tmp_path)
    file = sweep({"x": {"values": [1, 2]}})
    assert command("sweep", "run", file, "--engine", "wandb", "--dry-run", *words) == 2
    assert f"{words[0]}: W&B stores the study" in capsys.readouterr().err
    assert command("sweep", "run", file, "--dry-run", *words) == 0
    assert f"engine    local because of {words[0]}" in capsys.readouterr().err
    assert logged_in == []


def test_only_on_request_does_wandb_run_on_slurm(
    sweep, command, tmp_path, capsys, monkeypatch, logged_in
):
    """By default the local engine does: the nodes may not reach W&B's server."""
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    words = ("sweep", "run", sweep({"x": {"values": [1, 2]}}), "--dry-run", "--launcher", "slurm")
    words += ("--gpus-per-trial", 2, "--workers", 8, "--root", "else")
    assert command(*words) == 0
    printed = capsys.readouterr()
    assert "engine    local because of --launcher slurm" in printed.err
    assert "sweeps.worker mine" in printed.out
    assert command(*words, "--engine", "wandb") == 0
    agent = f"sweeps.agent job {tmp_path}/else/mine-ID ENTITY/lightning_colorize/ID "
    assert agent in capsys.readouterr().out
    assert not (tmp_path / "else").exists()


@pytest.mark.parametrize("engine", ["local", "wandb"])
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--gpus-per-trial", "1"], "is 2 GPUs, but 0 are visible"),
        (["--launcher", "slurm", "--sbatch", "nodes=2"], "--nodes is chosen for you"),
    ],
)
def test_workers_that_cannot_start_are_refused_before_a_sweep_exists(
    sweep, command, tmp_path, capsys, monkeypatch, logged_in, engine, words, reason
):
    pytest.importorskip("submitit")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    file = sweep({"x": {"values": [1, 2]}})
    words = ("sweep", "run", file, "--root", tmp_path / "runs", "--workers", 2, *words)
    assert command(*words, "--engine", engine) == 2
    assert reason in capsys.readouterr().err
    assert (logged_in, (tmp_path / "runs").exists()) == ([], False)


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
