"""MLflow's client and its store of files; a server that does not respond."""

import logging

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.loggers.build import build_loggers, close_loggers
from lightning_colorize.training.loggers.mlflow_run import MLflowRun
from lightning_colorize.training.loggers.resumed import VALIDATED
from lightning_colorize.training.options import LoggerOptions
from tests.conftest import metric_rows

mlflow = pytest.importorskip("mlflow", reason="extra mlflow")

STEP = "trainer/global_step"


@pytest.fixture(autouse=True)
def bounded(monkeypatch):
    """No telemetry, and no attempts that take minutes."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


@pytest.fixture
def store(tmp_path):
    return (tmp_path / "store").as_uri()


def curves_of_mlflow(client, run):
    key = (run / "mlflow/id").read_text().strip()
    return {
        name: sorted((m.step, m.value) for m in client.get_metric_history(key, name))
        for name in client.get_run(key).data.metrics
        if name not in (STEP, VALIDATED)
    }


def test_a_run_and_its_resume_have_the_curves_of_tensorboard(command, store):
    words = ("--run.loggers.mlflow", store, "--run.loggers.log_model", "true")
    run = command.fit("a", *words)
    client = mlflow.MlflowClient(store)
    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0}).Reload()
    curves = curves_of_mlflow(client, run)
    assert {"val/psnr", "train/loss", "test/psnr", "epoch"} <= curves.keys()
    for name, curve in curves.items():
        expected = [(event.step, event.value) for event in events.Scalars(name)]
        np.testing.assert_allclose(curve, expected, rtol=1e-6, err_msg=name)

    (experiment,) = client.search_experiments(filter_string="name = 'lightning_colorize'")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert (logged.info.run_name, logged.info.status) == ("a", "FINISHED")
    assert logged.data.params["model.init_args.encoder.init_args.widths"] == "[4, 8]"

    def stored(folder=None):
        return [file.path for file in client.list_artifacts(logged.info.run_id, folder)]

    assert {"config.yaml", "result.json", "images"} <= {*stored()}
    assert stored("checkpoints") == ["checkpoints/best.ckpt", "checkpoints/last.ckpt"]
    assert any("grid" in path for path in stored("images"))

    assert command("resume", run, "--trainer.max_epochs", 3) == 0
    steps = [int(row["step"]) for row in metric_rows(run) if row["val/psnr"]]
    assert [step for step, _ in curves_of_mlflow(client, run)["val/psnr"]] == steps


def test_resumed_run_logs_no_step_twice(tmp_path, store):
    options = LoggerOptions(mlflow=store, tags=["a"], group="g")
    (tmp_path / "config.yaml").write_text("a: 1")
    # One that the server did not get.
    (tmp_path / "metrics.csv").write_text("step,val/psnr\n3,13\n4,14\n5,15\n")
    processes = (range(4), 0.1, True), (range(2, 4), 0.2, False), (range(5, 7), 0.2, False)
    for steps, lr, failed in processes:
        logger = MLflowRun(tmp_path, options, steps[0] or None)
        logger.log_hyperparams({"lr": lr})
        for step in steps:
            logger.log_metrics({"val/psnr": step + 10 * failed}, step)
        logger.finalize("success")
        client = logger.experiment
        assert client.get_run(logger.run_id).info.status == "RUNNING"
        close_loggers([logger], failed=failed)
        run = client.get_run(logger.run_id)
        assert run.info.status == ("FAILED" if failed else "FINISHED")
    tags = run.data.tags
    assert (run.data.params, tags["group"], tags["tags"]) == ({"lr": "0.1"}, "g", "a")
    history = client.get_metric_history(logger.run_id, "val/psnr")
    assert [(each.step, each.value) for each in history] == [
        *((0, 10), (1, 11), (2, 12), (3, 13), (4, 14), (5, 5), (6, 6))
    ]


def test_a_password_is_refused(tmp_path):
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_PASSWORD"):
        MLflowRun(tmp_path, LoggerOptions(mlflow="https://me:secret@127.0.0.1"))


def test_an_address_that_refuses_a_new_run_is_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    for address in (tmp_path.as_uri(), "nonsense://x", "http://127.0.0.1:9"):
        with pytest.raises(UsageError, match=rf"^--run.loggers.mlflow {address}: .+$"):
            build_loggers(tmp_path, LoggerOptions("disabled", mlflow=address))


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
