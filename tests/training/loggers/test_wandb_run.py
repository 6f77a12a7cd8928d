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
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.runs.images import BestImage, write_best_images
from lightning_colorize.training.loggers import wandb_run
from lightning_colorize.training.loggers.build import log_images
from lightning_colorize.training.loggers.wandb_mode import WandbMode
from lightning_colorize.training.loggers.wandb_run import WandbRun
from lightning_colorize.training.options import LoggerOptions

wandb = pytest.importorskip("wandb")

_IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)


class Run:
    """The used part of a W&B run, which has logged up to step 4."""

    id = "abc"

    def __init__(self):
        self.summary = {"trainer/global_step": 4}
        self.rows = []
        self.log = self.rows.append
        self.config = SimpleNamespace(update=lambda *_, **__: None)

    def define_metric(self, *_, **__):
        pass

    def finish(self, exit_code):
        self.exit_code = exit_code


def make(folder, mode="offline", resume_step=None, **options):
    folder.mkdir(parents=True, exist_ok=True)
    return WandbRun(folder, LoggerOptions(**options), WandbMode(mode), resume_step)


@pytest.fixture
def logger(tmp_path):
    logger = make(tmp_path / "runs" / "experiment" / "name", group="g", tags=["t"])
    yield logger
    logger.close(failed=False)


@pytest.fixture
def run(monkeypatch):
    run = Run()
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    return run


def log_all(logger, *steps):
    """Log metrics at these steps, and one of everything else."""
    for step in steps:
        logger.log_metrics({"val/psnr": 20.0 + step}, step)
    logger.log_hyperparams({"a": 1})
    log_images([logger], "val/grid", torch.from_numpy(_IMAGE).movedim(-1, 0), steps[-1])


def warning(caplog):
    """Return the only warning."""
    (line,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    return line


def written(record):
    """Return the record of a run; W&B completes it a moment after `finish` has returned."""
    for _ in range(100):
        if len(content := record.read_bytes()) > 100:
            return content
        time.sleep(0.1)
    return b""


def test_offline_run_is_saved_in_the_run_folder(logger, capfd):
    for step, value in enumerate((21.0, 23.0, 22.0)):
        names = ("val/psnr", "val/ciede2000", "val/colorfulness")
        logger.log_metrics(dict.fromkeys(names, value), step)
    config = {"model.lr": 0.1, "model.widths": [8, 16], "model.loss": None, "data": {}}
    logger.log_hyperparams(config)
    log_images([logger], "val/grid", torch.from_numpy(_IMAGE).movedim(-1, 0), 2)
    run = logger.experiment
    assert dict(run.config) == config
    assert (run.project, run.group, run.name) == ("lightning_colorize", "g", "name")
    assert run.tags == ("t",)
    assert run.summary["val/psnr"]["max"] == 23.0
    assert run.summary["val/ciede2000"]["min"] == 21.0
    assert run.summary["val/colorfulness"] == 22.0
    logger.close(failed=False)

    folder = logger._folder
    (record,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert b"val/psnr" in written(record)
    (file,) = folder.glob("wandb/offline-run-*/files/media/images/val/grid_*.png")
    assert np.array_equal(np.asarray(Image.open(file)), _IMAGE)
    assert (folder / "wandb" / "id").read_text().strip() == run.id
    assert capfd.readouterr() == ("", "")


def test_a_trials_run_says_which_configuration_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_COLORIZE_SWEEP", "encoders")
    monkeypatch.setenv("LIGHTNING_COLORIZE_VALUES", "encoder=resnet18, lr=0.001")
    monkeypatch.setenv("WANDB_TAGS", "cluster,t")
    logger = make(tmp_path / "trial-0003", tags=["t"], notes="to compare", job_type="pretraining")
    run = logger.experiment
    assert run.name == "trial-0003: encoder=resnet18, lr=0.001"
    assert (run.group, run.tags) == ("encoders", ("t", "cluster", "encoders"))
    assert (run.notes, run.job_type) == ("to compare", "pretraining")
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


def test_steps_are_not_logged_twice(run, tmp_path):
    logger = make(tmp_path, "online")
    for step in range(3, 7):
        logger.log_metrics({"x": step}, step)
    logger.log_metrics({"y": 1})
    logger.log_metrics({"test/psnr": 1}, 4)
    assert [row.get("trainer/global_step") for row in run.rows] == [5, 6, None, 4]
    logger.close(failed=True)
    assert run.exit_code == 1


@pytest.mark.parametrize(("validated", "sent"), [({}, 4), ({"trainer/validated_step": 3}, 3)])
def test_unsent_steps_are_logged_from_the_file(run, tmp_path, validated, sent):
    run.summary = {"trainer/global_step": 4} | validated
    # A validation whose step was sent without it, an empty row, two unsent, one trained again.
    rows = "3,1,19,,", "4,1,20,0.5,9", "6,,,,", "7,2,21.5,,", "8,3,22,,", "10,5,23,,"
    names = "step,epoch,val/psnr,train/loss,test/loss"
    (tmp_path / "metrics.csv").write_text("\n".join([names, *rows, ""]))
    logger = make(tmp_path, "online", resume_step=10)
    for step in range(9, 12):
        logger.log_metrics({"x": step}, step)
    rows = [(row["trainer/global_step"], row.get("val/psnr", row.get("x"))) for row in run.rows]
    unsent = [each for each in ((4, 20), (7, 21.5), (8, 22)) if each[0] > sent]
    assert rows == [*unsent, (9, 9), (10, 10), (11, 11)]
    assert run.summary["val/psnr"] == {"max": 22}  # W&B knows no value from before
    assert run.summary["train/loss"] == {"min": 0.5}
    logger.close(failed=False)


def test_online_run_that_cannot_start_is_saved_offline(tmp_path, monkeypatch, caplog):
    real = wandb.init

    def init(**arguments):
        if arguments["mode"] == "online":
            raise wandb.errors.CommError("the server\nis on fire")
        return real(**arguments)

    monkeypatch.setattr(wandb, "init", init)
    logger = make(tmp_path, "online")
    logger.log_metrics({"val/psnr": 20.0}, 0)
    logger.close(failed=False)
    assert logger.description == "W&B offline (the server is on fire)"
    assert "the run is offline (the server is on fire)" in warning(caplog)
    (record,) = tmp_path.glob(f"wandb/offline-run-*/run-{logger.version}.wandb")
    assert b"val/psnr" in written(record)


@pytest.mark.parametrize("stops", [True, False])
def test_training_continues_without_any_wandb_run(logger, monkeypatch, caplog, stops):
    """Also if W&B's service does not stop."""
    calls, released = [], threading.Event()

    def init(**_):
        calls.append(1)
        raise OSError("disk full")

    monkeypatch.setattr(wandb, "init", init)
    if not stops:
        monkeypatch.setattr(wandb_run, "_TEARDOWN_TIMEOUT", 0.1)
        monkeypatch.setattr(wandb, "teardown", released.wait)
    start = time.monotonic()
    log_all(logger, 0, 1)
    logger.experiment.watch(None)
    logger.save()
    logger.finalize("success")
    logger.close(failed=False)
    released.set()
    assert time.monotonic() - start < 10
    assert len(calls) == 1
    assert "continues without it (disk full)" in warning(caplog)


def test_error_while_logging_is_one_warning(logger, run, caplog):
    def fail(*_, **__):
        raise BrokenPipeError("the service is gone")

    run.log = run.finish = run.config.update = fail
    log_all(logger, 5, 6, 7)
    logger.close(failed=False)
    assert "the service is gone" in warning(caplog)


def test_other_processes_have_no_run(logger, monkeypatch):
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("a second W&B run"))
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    log_all(logger, 0)
    logger.experiment.log({"x": 1.0})
