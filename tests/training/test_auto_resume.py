"""`--run.auto_resume true`: the same command resumes the run, or reports that it is finished."""

import signal

import pytest
import torch
import yaml

from lightning_colorize.runs.folder import read_config
from lightning_colorize.runs.result import RunResult
from tests.conftest import metric_rows
from tests.training.test_resume import assert_same_run

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1")

QUICK = ("--trainer.max_epochs", 1, "--run.grid_images", 0, "--run.test", "false")


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def words_of(command, name, *more):
    return command.words(name, "--run.auto_resume", "true", *more)


def test_same_command_resumes_a_run_stopped_by_sigusr1(command, stop_in, capsys):
    words = words_of(command, "again", "--run.save_every_n_steps", 50)
    stop_in(5, signal.SIGUSR1)
    assert command("fit", *words) == 128 + signal.SIGUSR1
    run = command.root / "tiny" / "again"
    assert "SIGUSR1: writing a checkpoint after this batch" in capsys.readouterr().err
    assert RunResult.read(run).status == "interrupted"
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 5
    assert command("fit", *words) == 0
    assert f"resuming {run} from step 5\n" in capsys.readouterr().out
    assert RunResult.read(run).restarts == 1
    assert_same_run(run, command.fit("uninterrupted", "--run.save_every_n_steps", 50))
    # A finished run is left unchanged.
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert command("fit", *words) == 0
    assert capsys.readouterr().out.endswith(f"nothing to do: {run} is finished\n")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_changed_settings_are_refused_by_name(command, stop_in, capsys):
    stop_in(2, signal.SIGUSR1)
    assert command("fit", *words_of(command, "other", "--trainer.max_epochs", 7)) == 138
    run = command.root / "tiny" / "other"
    before = (run / "config.yaml").read_bytes()
    capsys.readouterr()
    changed = ("--model.encoder.widths", "[4,16]", "--trainer.max_epochs", 9)
    assert command("fit", *words_of(command, "other", *changed)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--trainer.max_epochs 9 (the run has 7), --model.encoder.widths [4, 16] (the ru" in err
    assert f"lightning-colorize resume {run} --KEY VALUE" in err
    assert (run / "config.yaml").read_bytes() == before


def test_equal_settings_from_yaml_and_the_command_line(command, stop_in, tmp_path):
    config = tmp_path / "devices.yaml"
    config.write_text("trainer: {devices: 1}\n")
    stop_in(2, signal.SIGUSR1)
    words = words_of(command, "typed")
    assert command("fit", "--config", config, *words) == 138
    assert command("fit", "--config", config, *words, "--trainer.devices", "1") == 0


def test_run_without_checkpoint_starts_over(command):
    words = words_of(command, "early", *QUICK)
    assert command("fit", *words) == 0
    run = command.root / "tiny" / "early"
    first = metric_rows(run)
    (run / "checkpoints/last.ckpt").unlink()
    (run / "result.json").unlink()
    (run / "validations.jsonl").write_text("half a li")
    assert command("fit", *words) == 0
    assert metric_rows(run) == first
    assert RunResult.read(run).restarts == 0
    assert (run / "validations.jsonl").read_text().count("\n") == 1


def test_saved_configuration_does_not_auto_resume(command):
    assert command("fit", *words_of(command, "saved", *QUICK)) == 0
    run = command.root / "tiny" / "saved"
    saved = read_config(run)["run"]
    assert (saved["name"], saved["auto_resume"]) == (None, False)
    # Without the option, a finished run is never overwritten.
    assert command("fit", *command.words("saved", *QUICK)) == 2


def test_auto_resume_uses_the_default_precision_of_the_run(command, monkeypatch):
    from lightning_colorize.training import cli as training

    words = words_of(command, "moved", *QUICK)
    assert command("fit", *words) == 0
    (command.root / "tiny/moved/result.json").unlink()
    # On another GPU, whose default would be refused as a changed setting.
    monkeypatch.setattr(training, "default_precision", lambda accelerator: "bf16-mixed")
    assert command("fit", *words) == 0
    assert read_config(command.root / "tiny/moved")["trainer"]["precision"] == "32-true"


def test_auto_resume_needs_a_name(command, capsys, monkeypatch):
    words = words_of(command, "unnamed", *QUICK)
    del words[words.index("--run.name") : words.index("--run.name") + 2]
    assert command("fit", *words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--run.auto_resume: true needs --run.name" in err
    # A requeued job keeps its ID.
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert command("fit", *words) == 0
    assert RunResult.read(command.root / "tiny" / "4711").status == "finished"


def test_auto_resume_ignores_settings_of_a_newer_version(command, stop_in):
    stop_in(1, signal.SIGUSR1)
    words = words_of(command, "older", *QUICK)
    assert command("fit", *words) == 138
    config = command.root / "tiny/older/config.yaml"
    settings = yaml.safe_load(config.read_text())
    del settings["data"]["rotation"]
    config.write_text(yaml.safe_dump(settings))
    assert command("fit", *words) == 0
