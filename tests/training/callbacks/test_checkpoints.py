"""best.ckpt, last.ckpt, and how checkpoints are written."""

import errno
import shutil
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lightning_colorize.runs.folder import BEST, LAST
from lightning_colorize.runs.result import RunResult
from lightning_colorize.tasks import RegressionTask
from lightning_colorize.training.callbacks.checkpoints import (
    AtomicCheckpointIO,
    resumable,
    with_atomic_checkpoints,
)
from tests.conftest import metric_rows
from tests.training.callbacks.conftest import fake_trainer


def test_a_moved_run_keeps_its_best_score(command):
    # The growing learning rate makes the epochs after the first worse.
    schedule = "torch.optim.lr_scheduler.ExponentialLR"
    run = command.fit(
        *("worse", "--model.optimizer.lr", 0.003),
        *("--model.scheduler", schedule, "--model.scheduler.gamma", 100),
    )
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["global_step"]
    assert best == 3, "choose settings under which the first epoch is the best"
    moved = run.with_name("moved")
    shutil.move(run, moved)
    assert command("resume", moved, "--trainer.max_epochs", 4) == 0
    checkpoint = torch.load(moved / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3
    assert RunResult.read(moved).epochs == 4


def test_without_a_metric_the_last_weights_are_the_best(command):
    run = command.fit("last", "--run.monitor", "null")
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    result = RunResult.read(run)
    assert result.best_metric is None
    assert result.monitor is None


def test_smoothing_averages_the_last_validations(command, monkeypatch):
    scores = [1.0, 9.0, 2.0, 3.0, 3.0, 3.0]  # averages of two: 1, 5, 5.5, 2.5, ...
    left, log = list(scores), RegressionTask.log

    def scored(self, name, value, **options):
        log(self, name, torch.tensor(left.pop(0)) if name == "val/psnr" else value, **options)

    monkeypatch.setattr(RegressionTask, "log", scored)
    options = ["--run.smoothing", 2, "--run.patience", 1, "--trainer.max_epochs", 6]
    run = command.fit("smooth", *options, "--run.test", "false")
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["epoch"] + 1 == 3
    result = RunResult.read(run)
    assert result.epochs == 4
    assert result.monitor == "val/psnr"
    assert result.best_metric == result.metrics["val/psnr"] == scores[2]
    row = [row for row in metric_rows(run) if row["val/psnr"]][2]
    for name, value in result.metrics.items():
        assert not name.startswith("val/") or value == float(row[name]), name


def trainer_at(batch_idx, **options):
    """A trainer at the end of a batch of an epoch of ten."""
    loops = SimpleNamespace(total_batch_idx=10 + batch_idx)
    defaults = {"val_check_batch": 10, "is_last_batch": batch_idx == 9, "fit_loop": loops}
    return fake_trainer(**defaults | options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, list(range(9))),
        ({"accumulate_grad_batches": 3}, [2, 5, 8]),
        ({"val_check_batch": 4}, [0, 1, 2, 4, 5, 6, 8]),
        # Counted over epochs: batches 12, 16 and 20 of the run are the second, sixth and tenth.
        ({"val_check_batch": 4, "check_val_every_n_epoch": None}, [0, 2, 3, 4, 6, 7, 8]),
        ({"val_check_batch": float("inf")}, list(range(9))),
        ({"val_check_batch": None}, list(range(9))),
    ],
)
def test_batches_after_which_a_run_resumes_exactly(options, expected):
    assert [b for b in range(10) if resumable(trainer_at(b, **options), b)] == expected


def fill_up(checkpoint, file):
    """Stand in for `torch.save`, whose archive cannot be closed after the disk is full."""
    try:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904


def refuse(checkpoint, file):
    """Stand in for `torch.save` in a folder that became read-only."""
    raise PermissionError(errno.EACCES, "Permission denied", file.file.name)


def test_checkpoint_at_a_url_is_written_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    io = AtomicCheckpointIO()
    io.save_checkpoint({"step": 1}, "memory://checkpoints/last.ckpt")
    assert io.load_checkpoint("memory://checkpoints/last.ckpt", weights_only=True) == {"step": 1}
    assert not list(tmp_path.iterdir())


def test_configured_checkpoint_io_is_used():
    own = TorchCheckpointIO()
    assert with_atomic_checkpoints(["bitsandbytes", own]) == ["bitsandbytes", own]
    first, second = with_atomic_checkpoints(["other"])
    assert first == "other"
    assert isinstance(second, AtomicCheckpointIO)


@pytest.mark.parametrize(
    ("fail", "message"), [(fill_up, "No space left on device"), (refuse, "Permission denied")]
)
def test_a_disk_error_ends_a_run_in_one_line(command, monkeypatch, error_of, fail, message):
    saved, save = [], torch.save

    def save_twice(checkpoint, file):
        saved.append(file)
        (save if len(saved) <= 2 else fail)(checkpoint, file)

    monkeypatch.setattr(torch, "save", save_twice)
    err = error_of("fit", *command.words("run", "--run.save_every_n_minutes", 1e-9), code=1)
    run = command.root / "tiny" / "run"
    assert f"{run} cannot be written to: {message}; then run lightning-colorize resume" in err
    assert torch.load(run / LAST, weights_only=True)["global_step"] == 2
    assert not (run / BEST).exists()
    monkeypatch.undo()
    assert command("resume", run) == 0
