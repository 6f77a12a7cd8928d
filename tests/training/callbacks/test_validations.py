"""The last validation of a run, and early stopping."""

import json
import shutil

import pytest
import torch

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
    assert command("resume", run, "--trainer.max_epochs", 20, "--run.patience", 3) == 0
    assert trained(run) == ("stopped_early", 5)
    assert command("resume", run, "--trainer.max_epochs", 6) == 0
    assert trained(run) == ("finished", 6)


def test_a_run_stopped_by_a_callback_of_lightning_resumes_with_its_patience(command):
    words = {"+": "EarlyStopping", ".monitor": "val/psnr", ".mode": "max", ".patience": 2}
    options = [f"--trainer.callbacks{name}={value}" for name, value in words.items()]
    run = command.fit("own", *NO_PROGRESS, "--trainer.max_epochs", 9, *options)
    assert command("resume", run, "--trainer.max_epochs", 20) == 0
    assert RunResult.read(run).epochs == 3 + 2


def test_a_patience_given_at_resume_counts_from_the_best(command):
    run = command.fit("late", *NO_PROGRESS, "--trainer.max_epochs", 3)
    assert command("resume", run, "--trainer.max_epochs", 9, "--run.patience", 3) == 0
    assert trained(run) == ("stopped_early", 4)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ((), ""),
        (("--data.batch_size", 6), ""),
        (("--data.size", 24), "data.size 24 (the run has 32)"),
        (("--data.resize", "stretch"), "data.resize stretch (the run has crop)"),
        (("--run.monitor", "val/ssim"), "run.monitor val/ssim (the run has val/psnr)"),
        (("--run.mode", "max"), "run.mode max (the run has null)"),
        (("--run.smoothing", 2), "run.smoothing 2 (the run has 1)"),
        (("--trainer.limit_val_batches", 0.5), "trainer.limit_val_batches 0.5 (the run has null)"),
        (("--trainer.overfit_batches", 2), "trainer.overfit_batches 2 (the run has 0.0)"),
        ("more images", "validation images 6, names"),
    ],
)
def test_the_best_is_reset_where_validations_do_not_compare(
    command, photo_folder, tmp_path, capsys, words, changes
):
    photos = shutil.copytree(photo_folder, tmp_path / "photos")
    run = command.fit("run", *NO_PROGRESS, "--data.root", photos, "--trainer.max_epochs", 1)
    if words == "more images":
        shutil.copy(photos / "train" / "001.jpg", photos / "val" / "new.jpg")
        words = ()
    if changes:
        assert command("resume", run, *words, "--trainer.max_steps", 3) == 2
        assert f"nothing is left to train with {changes}" in capsys.readouterr().err
    # Otherwise the second epoch, with the same weights, is not better than the first.
    assert command("resume", run, *words, "--trainer.max_epochs", 2) == 0
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert (best["global_step"] > 3) == bool(changes)
    assert ("the best checkpoint is reset" in capsys.readouterr().out) == bool(changes)
    result, row = RunResult.read(run), [row for row in metric_rows(run) if row["val/psnr"]][-1]
    assert result.best_metric == pytest.approx(float(row[result.monitor]))
    assert "val/psnr" in result.baselines["lut"]


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


def test_run_ended_by_max_time_is_validated(command, capsys):
    run = command.fit(
        "timed",
        *("--trainer.max_time", "00:00:00:02", "--trainer.max_epochs", "-1"),
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
        (1, 2, 6, [1, 4, 5]),
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
