import shutil

import pytest
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


@pytest.mark.parametrize(
    ("monitor", "best"), [("val/psnr", max), ("val/ciede2000", min), ("val/loss", min)]
)
def test_the_metric_decides_which_epoch_is_best(command, monitor, best):
    run = command.fit("best", "--run.monitor", monitor, "--trainer.max_epochs", 3)
    values = [float(row[monitor]) for row in metric_rows(run) if row[monitor]]
    assert len(values) == 3
    assert RunResult.read(run).best_metric == pytest.approx(best(values))


def test_without_a_metric_the_last_weights_are_the_best(command):
    run = command.fit("last", "--run.monitor", "null")
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    result = RunResult.read(run)
    assert result.best_metric is None
    assert result.monitor is None


@pytest.fixture
def validated_as(monkeypatch):
    """Make validations log these values of psnr."""
    log = RegressionTask.log

    def plan(scores):
        left = list(scores)

        def scored(self, name, value, **options):
            is_psnr = name == "val/psnr"
            log(self, name, torch.tensor(left.pop(0)) if is_psnr else value, **options)

        monkeypatch.setattr(RegressionTask, "log", scored)

    return plan


@pytest.mark.parametrize(
    ("scores", "count", "expected"),
    [
        ((1.0, 9.0, 2.0, 3.0), 1, 2),
        # Averages: 1, 5, 5.5, 2.5.
        ((1.0, 9.0, 2.0, 3.0), 2, 3),
        ((1.0, 2.0, 3.0, 4.0), 4, 4),
    ],
)
def test_smoothing_averages_the_last_validations(command, validated_as, scores, count, expected):
    validated_as(scores)
    options = ["--run.smoothing", count, "--trainer.max_epochs", len(scores), "--run.test", "false"]
    run = command.fit("smooth", *options)
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["epoch"] + 1 == expected
    result = RunResult.read(run)
    assert result.monitor == "val/psnr"
    assert result.best_metric == result.metrics["val/psnr"] == scores[expected - 1]
    row = [row for row in metric_rows(run) if row["val/psnr"]][expected - 1]
    for name, value in result.metrics.items():
        assert not name.startswith("val/") or value == float(row[name]), name


@pytest.mark.parametrize(("count", "epochs"), [(1, 3), (2, 4)])
def test_patience_counts_smoothed_validations(command, validated_as, count, epochs):
    validated_as([1.0, 9.0, 2.0, 3.0, 3.0, 3.0])  # averages of two: 1, 5, 5.5, 2.5
    options = ["--run.smoothing", count, "--run.patience", 1]
    run = command.fit("patient", *options, "--trainer.max_epochs", 6, "--run.test", "false")
    assert RunResult.read(run).epochs == epochs
