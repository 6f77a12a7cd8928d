import shutil

import torch

from lightning_colorize.runs.result import RunResult
from lightning_colorize.tasks import RegressionTask
from tests.conftest import metric_rows


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
