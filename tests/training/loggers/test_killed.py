"""A run that is killed and resumed: its loggers have what an uninterrupted run's would."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_colorize.metrics.spec import GOALS
from lightning_colorize.training.loggers.resumed import VALIDATED, recover_wandb_file
from tests.conftest import metric_rows
from tests.wandb_server import WandbServer, stop_service

pytest.importorskip("wandb")


@pytest.fixture
def server(monkeypatch):
    """A server, and the environment of a user who is logged in there."""
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        stop_service()  # W&B reads the environment once
        yield server
        stop_service()


def curve(rows, name, step="step"):
    return [(int(row[step]), float(row[name])) for row in rows if row.get(name) not in (None, "")]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["offline", "online"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_loggers_of_a_killed_run_have_all_that_it_logged(
    command, at_batch, server, mode, number, monkeypatch, tmp_path
):
    words = ["--run.loggers.wandb", mode, "--trainer.max_epochs", 5, "--model.optimizer.lr", 0.03]
    store = (tmp_path / "store").as_uri()
    if mlflow := find_spec("mlflow"):
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        words += ["--run.loggers.mlflow", store]

    def end():
        pid = os.getpid()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (*map(int, children), pid) if number == signal.SIGTERM else (pid,):
            os.kill(each, number)  # a cluster terminates W&B's service, too

    at_batch(11, end)  # after three of five epochs
    killed = multiprocessing.get_context("fork").Process(target=command.fit, args=("a", *words))
    killed.start()
    killed.join()
    at_batch(0, None)
    assert killed.exitcode == {signal.SIGKILL: -9, signal.SIGTERM: 1}[number]
    run = command.root / "tiny/a"
    if (mode, number) == ("offline", signal.SIGTERM):
        files = run.glob("wandb/offline-run-*/*.wandb")  # two, if it started again a second later
        assert max(recover_wandb_file(file).get(VALIDATED, 0) for file in files) == 8
    assert command("resume", run) == 0
    rows = metric_rows(run)
    expected = curve(rows, "val/psnr")
    assert len(expected) == 5

    if mode == "offline":
        stop_service()
        files = sorted(map(str, run.glob("wandb/offline-run-*/*.wandb")))
        subprocess.run([sys.executable, "-m", "wandb", "sync", *files], check=True)
    logged = server.runs[(run / "wandb/id").read_text().strip()]
    history = [json.loads(line) for line in logged["history"]]
    assert curve(history, "val/psnr", "trainer/global_step") == expected
    summary = json.loads(logged["summary"])
    for name in ("val/psnr", "val/ssim", "val/ciede2000"):  # the best is the last, second, first
        goal = GOALS[name.removeprefix("val/")]
        best = {"min": min, "max": max}[goal](value for _, value in curve(rows, name))
        assert summary[name][goal] == best

    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0}).Reload()
    assert [each.step for each in events.Scalars("val/psnr")] == [step for step, _ in expected]
    if mlflow:
        from mlflow import MlflowClient

        key = (run / "mlflow/id").read_text().strip()
        history = MlflowClient(store).get_metric_history(key, "val/psnr")
        assert [(each.step, each.value) for each in history] == expected
