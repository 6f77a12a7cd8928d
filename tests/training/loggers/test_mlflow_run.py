import json
import logging
import os
import re
import socket
import struct
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest
import requests
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.loggers.build import build_loggers, close_loggers
from lightning_colorize.training.loggers.mlflow_run import MLflowRun
from lightning_colorize.training.options import LoggerOptions
from tests.conftest import metric_rows, until

mlflow = pytest.importorskip("mlflow", reason="extra mlflow")

STEP = "trainer/global_step"


@pytest.fixture(autouse=True)
def bounded(monkeypatch):
    """No telemetry, and no attempts that take minutes."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")


@pytest.fixture
def tracking_server(tmp_path):
    """The URL of an MLflow server, a process of its own."""
    pytest.importorskip("flask", reason="the server of MLflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("--host", "127.0.0.1", "--port", port, "--workers", 1)
    words += ("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db")
    words += ("--artifacts-destination", tmp_path / "artifacts")
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *map(str, words)],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def responds():
        try:
            return requests.get(f"{url}/health", timeout=1).ok
        except requests.RequestException:
            return False

    try:
        until(responds, 200)
        yield url
    finally:
        process.terminate()
        process.wait()


def of_tensorboard(run):
    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0}).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def of_mlflow(url, run):
    client = mlflow.MlflowClient(url)
    key = (run / "mlflow/id").read_text().strip()
    return {
        name: [(m.step, m.value) for m in client.get_metric_history(key, name)]
        for name in client.get_run(key).data.metrics
    }


def of_wandb(run):
    """Return the metrics in the file that `wandb sync` uploads: blocks as in LevelDB's log."""
    from wandb.proto import wandb_internal_pb2

    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    content, at, data, curves = file.read_bytes(), 7, b"", defaultdict(list)
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        data += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind not in (1, 4):  # whole, or the last part
            continue
        history = wandb_internal_pb2.Record.FromString(data).history
        # An image has several keys below its own.
        items = [item for item in history.item if len(item.nested_key) == 1]
        row = {item.nested_key[0]: json.loads(item.value_json) for item in items}
        for name, value in row.items():
            if isinstance(value, int | float) and not name.startswith("_"):
                curves[name].append((row[STEP], value))
        data = b""
    return curves


def without(curves, *names):
    return {name: sorted(curve) for name, curve in curves.items() if name not in names}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_run_in_wandb_mlflow_and_tensorboard(command, tracking_server):
    words = ("--run.loggers.wandb", "offline", "--run.loggers.mlflow", tracking_server)
    words += ("--run.loggers.log_model", "true")
    run = command.fit("a", *words)
    tensorboard = without(of_tensorboard(run))
    in_mlflow, in_wandb = of_mlflow(tracking_server, run), of_wandb(run)
    assert {"val/psnr", "train/loss", "test/psnr", "epoch"} <= tensorboard.keys()
    for curves in (in_mlflow, in_wandb):
        assert STEP in curves
        curves = without(curves, STEP)
        assert curves.keys() == tensorboard.keys()
        for name, curve in curves.items():
            np.testing.assert_allclose(curve, tensorboard[name], rtol=1e-6, err_msg=name)

    client = mlflow.MlflowClient(tracking_server)
    (experiment,) = client.search_experiments(filter_string="name = 'lightning_colorize'")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert (logged.info.run_name, logged.info.status) == ("a", "FINISHED")
    assert logged.data.params["model.init_args.encoder.init_args.widths"] == "[4, 8]"

    def stored(folder=None):
        return [file.path for file in client.list_artifacts(logged.info.run_id, folder)]

    assert {"config.yaml", "result.json", "images"} <= {*stored()}
    assert stored("checkpoints") == ["checkpoints/best.ckpt", "checkpoints/last.ckpt"]
    (image,) = (p for p in stored("images") if re.match(r".*grid.step.6.*\.png", p))
    pixels = Image.open(client.download_artifacts(logged.info.run_id, image))
    last = max((run / "images").glob("val_grid_*.png"))
    assert np.array_equal(np.asarray(pixels), np.asarray(Image.open(last)))

    assert command("resume", run, "--trainer.max_epochs", 3) == 0
    resumed = without(of_mlflow(tracking_server, run))
    assert [step for step, _ in resumed["val/psnr"]] == [
        int(row["step"]) for row in metric_rows(run) if row["val/psnr"]
    ]


def test_resumed_run_logs_no_step_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    options = LoggerOptions(mlflow=(tmp_path / "store").as_uri(), tags=["a"], group="g")
    (tmp_path / "config.yaml").write_text("a: 1")
    for steps, lr, failed in ((range(4), 0.1, True), (range(2, 6), 0.2, False)):
        logger = MLflowRun(tmp_path, options)
        logger.log_hyperparams({"lr": lr})
        for step in steps:
            logger.log_metrics({"val/psnr": step + 10 * failed}, step)
        logger.finalize("success")
        client = logger.experiment
        assert client.get_run(logger.run_id).info.status == "RUNNING"
        close_loggers([logger], failed=failed)
        run = client.get_run(logger.run_id)
        assert run.info.status == ("FAILED" if failed else "FINISHED")
    assert (run.data.params, run.data.tags["group"], run.data.tags["tags"]) == (
        {"lr": "0.1"},
        "g",
        "a",
    )
    history = client.get_metric_history(logger.run_id, "val/psnr")
    assert [(each.step, each.value) for each in history] == [
        *((0, 10), (1, 11), (2, 12), (3, 13), (3, 3), (4, 4), (5, 5))
    ]


def test_a_password_is_refused(tmp_path):
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_PASSWORD"):
        MLflowRun(tmp_path, LoggerOptions(mlflow="https://me:secret@127.0.0.1"))


def test_server_that_does_not_respond_refuses_a_new_run(tmp_path):
    options = LoggerOptions("disabled", mlflow="http://127.0.0.1:9")
    with pytest.raises(UsageError, match=r"--run.loggers.mlflow http://127.0.0.1:9: .*"):
        build_loggers(tmp_path, options)


def test_server_that_fails_later_does_not_stop_training(tmp_path, caplog):
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow/id").write_text("abc\n")
    logger = MLflowRun(tmp_path, LoggerOptions(mlflow="http://127.0.0.1:9"))
    for step in range(3):
        logger.log_metrics({"val/psnr": 20.0}, step)
    logger.add_image("val/grid", np.zeros((4, 4, 3), np.uint8), 3)
    close_loggers([logger])
    (line,) = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert line.startswith("MLflow: logging failed, the run continues (")
