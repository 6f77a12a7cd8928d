import hashlib
import io
import json
import logging
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_colorize.runs.images import BestImage, write_best_images
from lightning_colorize.training.loggers import log_config, log_images
from lightning_colorize.training.loggers.wandb_mode import WandbMode
from lightning_colorize.training.loggers.wandb_run import WandbRun
from lightning_colorize.training.options import LoggerOptions

wandb = pytest.importorskip("wandb")

_IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
_PIXELS = torch.from_numpy(_IMAGE).permute(2, 0, 1)


def _written(record):
    """Return the record of a run; W&B completes it a moment after `finish` has returned."""
    for _ in range(100):
        if len(written := record.read_bytes()) > 100:
            return written
        time.sleep(0.1)
    return b""


@pytest.fixture
def logger(tmp_path):
    folder = tmp_path / "runs" / "experiment" / "name"
    folder.mkdir(parents=True)
    logger = WandbRun(folder, LoggerOptions(group="g", tags=["t"]), WandbMode("offline"))
    yield logger
    logger.close(failed=False)


def test_offline_run_is_saved_in_the_run_folder(logger, capfd):
    start = time.monotonic()
    for step, psnr in enumerate((21.0, 23.0, 22.0)):
        logger.log_metrics(
            {"val/psnr": psnr, "val/ciede2000": psnr, "val/colorfulness": psnr}, step
        )
    run = logger.experiment
    log_config([logger], {"model": {"lr": 0.1, "widths": [8, 16], "loss": None}, "data": {}})
    log_images([logger], "val/grid", _PIXELS, 2)
    assert dict(run.config) == {
        "model.lr": 0.1,
        "model.widths": [8, 16],
        "model.loss": None,
        "data": {},
    }
    assert (run.project, run.group, run.tags, run.name) == (
        "lightning_colorize",
        "g",
        ("t",),
        "name",
    )
    assert run.summary["val/psnr"]["max"] == 23.0
    assert run.summary["val/ciede2000"]["min"] == 21.0
    assert run.summary["val/colorfulness"] == 22.0
    logger.close(failed=False)
    assert time.monotonic() - start < 30

    folder = logger._folder
    (record,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert b"val/psnr" in _written(record)
    (file,) = folder.glob("wandb/offline-run-*/files/media/images/val/grid_*.png")
    assert np.array_equal(np.asarray(Image.open(file)), _IMAGE)
    assert (folder / "wandb" / "id").read_text().strip() == run.id
    assert capfd.readouterr() == ("", "")


def test_resumed_run_keeps_its_id(logger, tmp_path):
    first = logger.experiment.id
    logger.close(failed=True)
    resumed = WandbRun(logger._folder, LoggerOptions(), WandbMode("offline"))
    assert resumed.version == first
    other = WandbRun(tmp_path / "other", LoggerOptions(), WandbMode("offline"))
    assert other.version != first
    chosen = WandbRun(logger._folder, LoggerOptions(wandb_id="chosen"), WandbMode("offline"))
    assert chosen.version == "chosen"


@pytest.mark.parametrize(("option", "group"), [(None, "encoders" * 9), ("mine", "mine")])
def test_trials_are_grouped_by_sweep(tmp_path, monkeypatch, option, group):
    """W&B refuses tags of more than 64 characters, and groups of more than 128."""
    monkeypatch.setenv("LIGHTNING_COLORIZE_SWEEP", "encoders" * 9)
    logger = WandbRun(tmp_path, LoggerOptions(group=option, tags=["t"]), WandbMode("offline"))
    run = logger.experiment
    assert (run.group, run.tags) == (group, ("t", "encoders" * 8))
    logger.close(failed=False)


def test_the_best_epochs_images_are_a_table(logger):
    images = [
        BestImage(f"val/{name}.jpg", np.roll(_IMAGE, shift, axis=0), 7.5 + shift)
        for shift, name in enumerate("ab")
    ]
    write_best_images(logger._folder, images)
    logger.log_metrics({"val/psnr": 20.0}, 0)
    logger.close(failed=False)
    # In the run folder too, for `wandb sync`.
    staged = [path.read_bytes() for path in logger._folder.glob("wandb/artifacts/staging/*")]
    table = json.loads(next(content for content in staged if content.startswith(b"{")))
    files = {hashlib.sha256(content).hexdigest(): content for content in staged}
    assert table["columns"] == ["image", "grey", "prediction", "truth", "ciede2000"]
    for index, (name, *parts, ciede2000) in enumerate(table["data"]):
        assert (name, ciede2000) == (images[index].name, 7.5 + index)
        for column, part in enumerate(parts):
            pixels = np.asarray(Image.open(io.BytesIO(files[part["sha256"]])))
            assert np.array_equal(pixels, images[index].row[:, 4 * column : 4 * column + 4])


def test_failed_table_does_not_keep_the_run_open(logger, monkeypatch, caplog):
    run = _Run()
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    write_best_images(logger._folder, [BestImage("a", _IMAGE, 1.0)])
    logger.log_metrics({"x": 1.0}, 5)
    monkeypatch.setattr(wandb, "Table", lambda **_: 1 / 0)
    logger.close(failed=False)
    assert run.exit_code == 0
    (line,) = _warnings(caplog)
    assert "division by zero" in line


def test_trial_of_the_wandb_agent_is_one_run_with_its_parameters(tmp_path, monkeypatch):
    """The agent sets these variables; the run's configuration has the parameters already."""
    wandb.teardown()  # the environment is read once, at W&B's first use
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text(
        "wandb_version: 1\nmodel.loss:\n  value: experiments/loss/l1.yaml\n"
        "seed_everything:\n  value: 3\n"
    )
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "trial1")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(parameters))
    logger = WandbRun(tmp_path, LoggerOptions(), WandbMode("offline"))
    log_config([logger], {"seed_everything": 3, "model": {"lr": 0.1}})
    run = logger.experiment
    assert (run.id, run.sweep_id) == ("trial1", "sweep1")
    assert dict(run.config) == {
        "model.loss": "experiments/loss/l1.yaml",
        "seed_everything": 3,
        "model.lr": 0.1,
    }
    logger.close(failed=False)
    wandb.teardown()
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


def _warnings(caplog):
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


class _Run:
    """The used part of a W&B run, which has logged up to step 4."""

    id = "abc"
    summary = {"trainer/global_step": 4}  # noqa: RUF012

    def __init__(self):
        self.rows = []
        self.config = SimpleNamespace(update=lambda *_, **__: None)

    def define_metric(self, *_, **__):
        pass

    def log(self, row):
        self.rows.append(row)

    def finish(self, exit_code):
        self.exit_code = exit_code


def test_steps_are_not_logged_twice(logger, monkeypatch):
    run = _Run()
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    for step in range(3, 7):
        logger.log_metrics({"x": step}, step)
    logger.log_metrics({"y": 1})
    assert [row.get("trainer/global_step") for row in run.rows] == [4, 5, 6, None]
    logger.close(failed=True)
    assert run.exit_code == 1


def test_online_run_that_cannot_start_is_saved_offline(tmp_path, monkeypatch, caplog):
    real = wandb.init

    def init(**arguments):
        if arguments["mode"] == "online":
            raise wandb.errors.CommError("the server\nis on fire")
        return real(**arguments)

    monkeypatch.setattr(wandb, "init", init)
    logger = WandbRun(tmp_path, LoggerOptions(), WandbMode("online"))
    identity = logger.version
    logger.log_metrics({"val/psnr": 20.0}, 0)
    logger.close(failed=False)
    assert logger.description == "W&B offline (the server)"
    (line,) = _warnings(caplog)
    assert "the run is offline (the server)" in line
    (record,) = tmp_path.glob(f"wandb/offline-run-*/run-{identity}.wandb")
    assert b"val/psnr" in _written(record)


def test_training_continues_without_any_wandb_run(logger, monkeypatch, caplog):
    calls = []

    def init(**_):
        calls.append(1)
        raise OSError("disk full")

    monkeypatch.setattr(wandb, "init", init)
    logger.log_metrics({"val/psnr": 20.0}, 0)
    logger.log_metrics({"val/psnr": 21.0}, 1)
    log_config([logger], {"a": 1})
    log_images([logger], "val/grid", _PIXELS, 1)
    logger.experiment.watch(None)
    logger.save()
    logger.finalize("success")
    logger.close(failed=False)
    assert len(calls) == 1
    (line,) = _warnings(caplog)
    assert "continues without it (disk full)" in line


def test_training_continues_although_the_wandb_service_does_not_stop(logger, monkeypatch, caplog):
    def init(**_):
        raise OSError("disk full")

    stop = threading.Event()
    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "teardown", stop.wait)
    start = time.monotonic()
    logger.log_metrics({"val/psnr": 20.0}, 0)
    stop.set()
    assert time.monotonic() - start < 30
    (line,) = _warnings(caplog)
    assert "continues without it (disk full)" in line


def test_error_while_logging_is_one_warning(logger, monkeypatch, caplog):
    run = _Run()
    monkeypatch.setattr(wandb, "init", lambda **_: run)

    def fail(*_, **__):
        raise BrokenPipeError("the service is gone")

    run.log = run.finish = run.config.update = fail
    for step in range(5, 8):
        logger.log_metrics({"x": 1.0}, step)
    log_config([logger], {"a": 1})
    log_images([logger], "val/grid", _PIXELS, 9)
    logger.close(failed=False)
    (line,) = _warnings(caplog)
    assert "the service is gone" in line


def test_other_processes_have_no_run(logger, monkeypatch):
    from pytorch_lightning.utilities import rank_zero_only

    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("a second W&B run"))
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger.log_metrics({"x": 1.0}, 0)
    log_config([logger], {"a": 1})
    log_images([logger], "val/grid", _PIXELS, 0)
    logger.experiment.log({"x": 1.0})
