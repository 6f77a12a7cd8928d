"""Early stopping, and what a resumed run makes of it."""

import json
import shutil

import pytest

from lightning_colorize.runs.result import RunResult

# No epoch is better than the first.
NO_PROGRESS = [
    *("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", 0),
    *("--model.encoder.norm", "none", "--model.decoder.norm", "none"),
]


def trained(run):
    result = RunResult.read(run)
    return result.status, result.epochs


def test_a_stopped_run_resumes_with_the_patience_of_its_settings(command):
    run = command.fit("early", *NO_PROGRESS, "--trainer.max_epochs", 9, "--run.patience", 1)
    assert trained(run) == ("stopped_early", 2)
    assert command("resume", run, "--trainer.max_epochs", 20, "--run.patience", 3) == 0
    assert trained(run) == ("stopped_early", 5)
    assert command("resume", run, "--trainer.max_epochs", 6) == 0
    assert trained(run) == ("finished", 6)


def test_a_stopped_run_that_was_killed_in_its_test_only_repeats_the_test(command):
    run = command.fit("killed", *NO_PROGRESS, "--trainer.max_epochs", 9, "--run.patience", 1)
    path = run / "result.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"status": "running", "metrics": {}}))
    assert command("resume", run) == 0
    assert trained(run) == ("stopped_early", 2)
    assert "test/psnr" in RunResult.read(run).metrics


def test_status_of_a_run_that_is_stopped_in_its_first_epoch(command):
    run = command.fit(
        *("first", *NO_PROGRESS, "--trainer.max_epochs", 9, "--run.patience", 1),
        *("--trainer.val_check_interval", 1),
    )
    result = RunResult.read(run)
    assert (result.status, result.batches) == ("stopped_early", 2)


def test_a_restarted_run_that_is_killed_at_once_trains_on(command, at_batch):
    run = command.fit("early", *NO_PROGRESS, "--trainer.max_epochs", 9, "--run.patience", 1)
    steps = RunResult.read(run).batches
    longer = ("--trainer.max_epochs", 20, "--run.patience", 3)

    def die():
        raise RuntimeError("killed")

    at_batch(steps + 1, die)
    with pytest.raises(RuntimeError, match="killed"):
        command("resume", run, *longer)
    assert command("resume", run, *longer) == 0
    assert trained(run) == ("stopped_early", 5)


def test_a_metric_that_is_never_defined_has_patience(command, photo_folder, tmp_path):
    photos = shutil.copytree(photo_folder, tmp_path / "photos")
    for extra in sorted((photos / "val").iterdir())[1:]:
        extra.unlink()
    options = ("--run.monitor", "val/ab_corr", "--run.patience", 3, "--trainer.max_epochs", 9)
    run = command.fit("single", "--data.root", photos, *options)
    assert trained(run) == ("stopped_early", 3)
