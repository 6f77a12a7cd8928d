import json
import math
import shutil
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from lightning_colorize.metrics.spec import NAMES
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training.callbacks import (
    BaselineMetrics,
    BestCheckpoint,
    ResultWriter,
    RunInterrupted,
    Throughput,
)
from tests.conftest import metric_rows

KEYS = {
    *("status", "metrics", "baselines", "best_checkpoint", "best_metric", "epochs", "batches"),
    *("images_seen", "seconds", "images_per_second", "parameters", "versions", "git_commit"),
    *("restarts", "device_hours", "steady_images_per_second", "data_wait_share"),
    "peak_device_memory",
}


def test_result_of_a_finished_run(finished_run):
    result = RunResult.read(finished_run)
    assert json.loads((finished_run / "result.json").read_text()).keys() >= KEYS
    assert result.status == "finished"
    assert (result.epochs, result.batches, result.images_seen) == (2, 6, 24)
    assert result.restarts == 0
    assert result.best_checkpoint == "checkpoints/best.ckpt"
    assert 0 < result.seconds < 60
    rate = result.images_seen / result.seconds
    assert result.images_per_second == pytest.approx(rate, rel=0.05)
    assert result.versions["torch"] == torch.__version__.partition("+")[0]
    names = {f"{split}/{name}" for split in ("val", "test") for name in NAMES}
    assert result.metrics.keys() == names | {"train/loss", "val/loss"}


def test_baselines_have_the_metrics_of_the_network(finished_run):
    result = RunResult.read(finished_run)
    assert result.baselines.keys() == {"grey", "mean", "lut"}
    for table in result.baselines.values():
        assert table.keys() == {name for name in result.metrics if not name.endswith("/loss")}
    grey = result.baselines["grey"]
    assert grey["val/colorfulness"] < 0.1
    assert grey["val/psnr"] != grey["test/psnr"]


def test_correlation_of_a_single_test_image_is_undefined(command, photo_folder, tmp_path):
    photos = shutil.copytree(photo_folder, tmp_path / "photos")
    for path in sorted((photos / "test").iterdir())[1:]:
        path.unlink()
    run = command.fit("single", "--data.root", photos, "--trainer.max_epochs", 1)
    assert math.isnan(float(metric_rows(run)[-1]["test/ab_corr"]))
    result = RunResult.read(run)
    for metrics in (result.metrics, *result.baselines.values()):
        assert metrics["test/ab_corr"] is None
        assert metrics["test/psnr"] is not None


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


def test_validation_metrics_are_the_best_epochs(command):
    # The growing learning rate makes the last epoch worse than the best.
    schedule = "torch.optim.lr_scheduler.ExponentialLR"
    run = command.fit(
        *("worse", "--trainer.max_epochs", 4, "--model.optimizer.lr", 0.003),
        *("--model.scheduler", schedule, "--model.scheduler.gamma", 30),
    )
    result = RunResult.read(run)
    rows = [row for row in metric_rows(run) if row["val/psnr"]]
    best = max(rows, key=lambda row: float(row["val/psnr"]))
    assert best is not rows[-1], "choose settings under which the last epoch is not the best"
    assert result.best_metric == float(best["val/psnr"])
    for name, value in result.metrics.items():
        if name.startswith("val/"):
            assert value == float(best[name]), name
    saved = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert saved["global_step"] == int(best["step"]) + 1


MODULE = SimpleNamespace(net=torch.nn.Linear(1, 1))


def fake_trainer(metrics):
    return SimpleNamespace(
        callback_metrics={name: torch.tensor(value) for name, value in metrics.items()},
        sanity_checking=False,
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        is_global_zero=True,
        current_epoch=1,
        callbacks=[],
        world_size=1,
    )


def make_writer(folder):
    best = BestCheckpoint(folder, "val/x", "max")
    return ResultWriter(folder, BaselineMetrics(), Throughput(), best)


@pytest.mark.parametrize(
    ("exception", "status"),
    [
        (RunInterrupted(signal.SIGTERM), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (RuntimeError("no"), "failed"),
    ],
    ids=["terminated", "second Ctrl-C", "failed"],
)
def test_exception_sets_the_status(tmp_path, exception, status):
    result = make_writer(tmp_path)
    result.on_exception(fake_trainer({}), MODULE, exception)
    assert not list(tmp_path.iterdir())  # the run had not begun
    result.on_train_start(fake_trainer({}), MODULE)
    result.on_exception(fake_trainer({}), MODULE, exception)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["status"] == status
    assert written["parameters"] == 2


def test_device_hours_add_up_over_restarts_on_other_devices(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    state = None
    for devices, hours in ((2, 3.0), (8, 0.5)):
        result = make_writer(tmp_path)
        if state is not None:
            result.load_state_dict(state)
        trainer = fake_trainer({})
        trainer.world_size = devices
        result.on_train_start(trainer, MODULE)
        now += hours * 3600
        state = result.state_dict()
    result.on_validation_end(trainer, MODULE)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["device_hours"] == 2 * 3 + 8 * 0.5
    assert written["seconds"] == 3.5 * 3600


def test_device_hours_of_a_killed_process_count(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    killed = make_writer(tmp_path)
    killed.on_train_start(fake_trainer({}), MODULE)
    now += 3600
    checkpoint = killed.state_dict()
    for _ in range(3):  # lost when it is killed
        now += 3600
        killed.on_train_batch_end(fake_trainer({}), MODULE, None, "four", 0)
    written = json.loads((tmp_path / "result.json").read_text())
    assert (written["status"], written["device_hours"]) == ("running", 4)
    assert RunRecord(tmp_path).status == "killed"
    resumed = make_writer(tmp_path)
    resumed.load_state_dict(checkpoint)
    resumed.on_train_start(fake_trainer({}), MODULE)
    now += 3600
    resumed.on_validation_end(fake_trainer({}), MODULE)
    written = json.loads((tmp_path / "result.json").read_text())
    assert (written["device_hours"], written["seconds"]) == (5, 2 * 3600)


def test_status_of_early_stopping(command):
    run = command.fit(
        *("early", "--trainer.max_epochs", 9, "--run.patience", 1),
        *("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", 0),
    )
    result = RunResult.read(run)
    assert result.status == "stopped_early"
    assert result.epochs < 9
    assert "test/psnr" in result.metrics
