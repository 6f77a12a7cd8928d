"""Early stopping, and what a resumed run makes of it."""

import json

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
