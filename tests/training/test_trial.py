"""Runs of a sweep: trial folder, validations.jsonl, the stop file, resuming."""

import pytest

from lightning_colorize.runs.result import RunResult
from tests.conftest import read_lines
from tests.training.test_resume import assert_same_run


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """The folder of the next trial, with the log that the sweep has written."""
    folder = tmp_path / "sweep" / "trial-0003"
    folder.mkdir(parents=True)
    (folder / "output.log").write_text("output of the process\n")
    monkeypatch.setenv("LIGHTNING_COLORIZE_TRIAL", str(folder))
    return folder


def test_each_validation_is_a_line(finished_run):
    first, second = read_lines(finished_run / "validations.jsonl")
    assert (first["epoch"], first["step"]) == (0, 3)
    assert (second["epoch"], second["step"]) == (1, 6)
    assert first["time"] < second["time"]
    assert RunResult.read(finished_run).stop_requested is False
    result = RunResult.read(finished_run).metrics
    names = {name for name in result if name.startswith("val/")}
    assert first["metrics"].keys() == second["metrics"].keys() == names
    best = max((first, second), key=lambda line: line["metrics"]["val/psnr"])
    assert best["metrics"]["val/psnr"] == pytest.approx(result["val/psnr"])


def test_trial_trains_in_its_own_folder_until_the_stop_file(command, trial, monkeypatch):
    (trial / "stop").write_text("behind the others\n")
    assert command("fit", *command.words("elsewhere", "--trainer.max_epochs", 5)) == 0
    result = RunResult.read(trial)
    assert (result.status, result.epochs) == ("stopped_early", 1)
    assert result.stop_requested is True
    assert len(read_lines(trial / "validations.jsonl")) == 1
    assert (trial / "output.log").read_text() == "output of the process\n"
    assert not command.root.exists()
    # It can be trained longer.
    monkeypatch.delenv("LIGHTNING_COLORIZE_TRIAL")
    assert command("resume", trial, "--trainer.max_epochs", 3) == 0
    assert (RunResult.read(trial).status, RunResult.read(trial).epochs) == ("finished", 3)


def test_trial_resumes_from_its_checkpoint(command, trial, stop_in, finished_run):
    words = command.words("run", "--run.save_every_n_minutes", 1e-9)
    stop_in(5)
    assert command("fit", *words) == 130
    assert command("fit", *words) == 0
    assert RunResult.read(trial).restarts == 1
    assert_same_run(trial, finished_run)
    # The epoch that was validated before the stop is not validated again.
    assert [line["step"] for line in read_lines(trial / "validations.jsonl")] == [3, 6]
