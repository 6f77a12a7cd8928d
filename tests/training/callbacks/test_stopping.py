"""Early stopping, and the last validation of a run."""

import json
import shutil

import pytest

from lightning_colorize.runs.result import RunResult
from tests.conftest import metric_rows

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
    # If it was killed in its test, it only repeats the test.
    path = run / "result.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"status": "running", "metrics": {}}))
    assert command("resume", run) == 0
    assert trained(run) == ("stopped_early", 2)
    assert "test/psnr" in RunResult.read(run).metrics
    assert command("resume", run, "--trainer.max_epochs", 20, "--run.patience", 3) == 0
    assert trained(run) == ("stopped_early", 5)
    assert command("resume", run, "--trainer.max_epochs", 6) == 0
    assert trained(run) == ("finished", 6)


def test_a_patience_given_at_resume_counts_from_the_best(command):
    run = command.fit("late", *NO_PROGRESS, "--trainer.max_epochs", 3)
    assert command("resume", run, "--trainer.max_epochs", 9, "--run.patience", 3) == 0
    assert trained(run) == ("stopped_early", 4)


def test_a_metric_that_is_never_defined_has_patience(command, photo_folder, tmp_path):
    photos = shutil.copytree(photo_folder, tmp_path / "photos")
    for extra in sorted((photos / "val").iterdir())[1:]:
        extra.unlink()
    options = ("--run.monitor", "val/ab_corr", "--run.patience", 3, "--trainer.max_epochs", 9)
    run = command.fit("single", "--data.root", photos, *options)
    assert trained(run) == ("stopped_early", 3)


def test_run_ended_by_max_time_is_validated(command, capsys):
    run = command.fit(
        "timed",
        *("--trainer.max_time", "00:00:00:01", "--trainer.max_epochs", "-1"),
        *("--trainer.check_val_every_n_epoch", "100000", "--run.test", "false"),
    )
    result = RunResult.read(run)
    assert result.status == "finished"
    assert "val/psnr" in result.metrics
    assert (run / result.best_checkpoint).is_file()
    assert "max_time ended the run" in capsys.readouterr().out
    more = ("--trainer.max_epochs", result.epochs + 2)
    assert command("resume", run, *more) == 0
    assert "max_time ended the run" in capsys.readouterr().out
    assert command("resume", run, *more, "--trainer.max_time", "null") == 0
    assert "max_time ended" not in capsys.readouterr().out
    # `trainer.max_epochs` counts an epoch that was cut short, `epochs` does not.
    assert RunResult.read(run).epochs in (result.epochs + 1, result.epochs + 2)


@pytest.mark.parametrize(
    ("every_n_epochs", "interval", "steps", "expected"),
    [
        # Three batches an epoch; two epochs, or five steps.
        ("null", 4, 6, [3, 5]),
        ("null", "00:01:00:00", 6, [5]),
        (2, 1.0, 9, [5, 8]),
        (1, 1.0, 5, [2, 4]),
    ],
)
def test_last_step_is_validated_at_any_interval(command, every_n_epochs, interval, steps, expected):
    run = command.fit(
        *("interval", "--trainer.max_epochs", "-1", "--trainer.max_steps", steps),
        *("--trainer.check_val_every_n_epoch", every_n_epochs),
        *("--trainer.val_check_interval", interval, "--run.test", "false"),
    )
    assert [int(row["step"]) for row in metric_rows(run) if row["val/psnr"]] == expected
    assert RunResult.read(run).epochs == steps // 3  # whole ones
