import time
from types import SimpleNamespace

import pytest
import torch

from lightning_colorize.metrics.spec import NAMES
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training.callbacks import BaselineMetrics, BestCheckpoint, Throughput
from lightning_colorize.training.callbacks.result import ResultWriter
from tests.conftest import metric_rows
from tests.training.callbacks.conftest import fake_trainer


def test_result_of_a_finished_run(finished_run):
    result = RunResult.read(finished_run)
    assert result.status == "finished"
    assert (result.epochs, result.batches, result.images_seen) == (2, 6, 24)
    assert result.restarts == 0
    assert result.best_checkpoint == "checkpoints/best.ckpt"
    assert None not in (result.parameters, result.versions, result.git_commit)
    rate = result.images_seen / result.seconds
    assert result.images_per_second == pytest.approx(rate, rel=0.05)
    names = {f"{split}/{name}" for split in ("val", "test") for name in NAMES}
    assert result.metrics.keys() == names | {"train/loss", "val/loss"}


@pytest.mark.parametrize(
    ("monitor", "mode", "choose"),
    [("val/colorfulness", "max", max), ("val/ciede2000", "null", min), ("val/loss", "null", min)],
)
def test_metrics_are_those_of_the_best_epoch(command, capsys, monitor, mode, choose):
    run = command.fit("run", "--run.monitor", monitor, "--run.mode", mode)
    rows = metric_rows(run)
    validated = [row for row in rows if row["val/psnr"]]
    best = choose(validated, key=lambda row: float(row[monitor]))
    losses = [row["train/loss"] for row in rows if row["epoch"] == best["epoch"]]
    mean = sum(map(float, losses[:3])) / 3
    metrics = RunResult.read(run).metrics
    assert RunResult.read(run).best_metric == pytest.approx(float(best[monitor]))
    assert metrics["train/loss"] == pytest.approx(mean)
    assert metrics["val/psnr"] == pytest.approx(float(best["val/psnr"]))
    line = f"epoch {int(best['epoch']) + 1}, validated: train/loss {mean:.4g}, "
    assert line in capsys.readouterr().out


def test_a_run_is_running_until_it_ends(command, monkeypatch):
    written = []
    write = RunResult.write

    def record(self, folder):
        written.append(self.status)
        write(self, folder)

    monkeypatch.setattr(RunResult, "write", record)
    run = command.fit("whole")
    # Two validations; between the training and its test no callback could report a signal.
    assert written == ["running", "running", "interrupted", "running", "finished"]
    written.clear()
    assert command("resume", run, "--trainer.max_epochs", 3, "--run.test", "false") == 0
    assert written == ["running", "running", "finished"]


MODULE = SimpleNamespace(net=torch.nn.Linear(1, 1))


def make_writer(folder):
    best = BestCheckpoint(folder, "val/x", "max")
    return ResultWriter(folder, BaselineMetrics(), Throughput(), best)


@pytest.fixture
def clock(monkeypatch):
    """The time in hours, which `time.monotonic` returns in seconds."""
    clock = SimpleNamespace(hours=0.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.hours * 3600)
    return clock


def test_device_hours_of_a_killed_process_count(tmp_path, clock):
    killed = make_writer(tmp_path)
    killed.on_train_start(fake_trainer(), MODULE)
    clock.hours += 1
    checkpoint = killed.state_dict()
    for _ in range(3):  # lost when it is killed
        clock.hours += 1
        killed.on_train_batch_end(fake_trainer(), MODULE, None, "four", 0)
    result = RunResult.read(tmp_path)
    assert (result.status, result.device_hours) == ("running", 4)
    assert RunRecord(tmp_path).status == "killed"
    resumed = make_writer(tmp_path)
    resumed.load_state_dict(checkpoint)
    resumed.on_train_start(fake_trainer(), MODULE)
    clock.hours += 1
    resumed.on_validation_end(fake_trainer(), MODULE)
    result = RunResult.read(tmp_path)
    assert (result.device_hours, result.seconds) == (5, 2 * 3600)
