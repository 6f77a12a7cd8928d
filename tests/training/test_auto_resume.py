"""`--run.auto_resume true`: the same command resumes the run, or reports that it is finished."""

import signal

import torch
import yaml

from lightning_colorize.runs.folder import read_config
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training import cli
from tests.training.test_resume import assert_same_run

AUTO = ("--run.auto_resume", "true")
QUICK = ("--trainer.max_epochs", 1, "--run.grid_images", 0, "--run.test", "false")


def test_same_command_resumes_a_run_stopped_by_sigusr1(command, finished_run, stop_in, capsys):
    words = command.words("again", *AUTO, "--run.save_every_n_minutes", 50)
    stop_in(5, signal.SIGUSR1)
    assert command("fit", *words) == 128 + signal.SIGUSR1
    run = command.root / "tiny" / "again"
    assert "SIGUSR1: writing a checkpoint after this batch" in capsys.readouterr().err
    assert RunResult.read(run).status == "interrupted"
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 5
    assert command("fit", *words) == 0
    assert f"resuming {run} from step 5\n" in capsys.readouterr().out
    assert RunResult.read(run).restarts == 1
    assert_same_run(run, finished_run)
    # A finished run is left unchanged.
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert command("fit", *words) == 0
    assert capsys.readouterr().out.endswith(f"nothing to do: {run} is finished\n")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    # Nor is it overwritten without the option, which its configuration does not contain.
    saved = read_config(run)["run"]
    assert (saved["name"], saved["auto_resume"]) == (None, False)
    assert command("fit", *command.words("again")) == 2


def test_changed_settings_are_refused_by_name(command, stopped, error_of):
    run = stopped("other", *AUTO, "--trainer.max_epochs", 7)
    before = (run / "config.yaml").read_bytes()
    changed = ("--model.encoder.widths", "[4,16]", "--trainer.max_epochs", 9)
    err = error_of("fit", *command.words("other", *AUTO, *changed))
    assert "--trainer.max_epochs 9 (the run has 7), --model.encoder.widths [4, 16] (the ru" in err
    assert f"lightning-colorize resume {run} --KEY VALUE" in err
    assert (run / "config.yaml").read_bytes() == before


def test_auto_resume_needs_a_name(command, error_of, monkeypatch):
    words = command.words("unnamed", *AUTO, *QUICK, without=["--run.name"])
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert "--run.auto_resume: true needs --run.name" in error_of("fit", *words)
    # A requeued job keeps its ID.
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert command("fit", *words) == 0
    assert RunResult.read(command.root / "tiny" / "4711").status == "finished"


def test_auto_resume_ignores_other_defaults(command, stopped, monkeypatch):
    run = stopped("older", *AUTO, *QUICK, batch=1)
    # A setting that only a newer version has.
    settings = read_config(run)
    del settings["data"]["augmentation"]["rotation"]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    # The precision of another GPU.
    monkeypatch.setattr(cli, "default_precision", lambda accelerator: "bf16-mixed")
    assert command("fit", *command.words("older", *AUTO, *QUICK)) == 0
    assert read_config(run)["trainer"]["precision"] == "32-true"
