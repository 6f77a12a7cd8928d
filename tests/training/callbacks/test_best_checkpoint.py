import shutil

import pytest
import torch

from lightning_colorize.runs.result import RunResult
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


def test_patience_without_a_metric_is_wrong_use(command, capsys):
    assert command("fit", *command.words("x", "--run.monitor", "null", "--run.patience", 3)) == 2
    assert "--run.patience: 3\naccepted: null if --run.monitor is null" in capsys.readouterr().err
