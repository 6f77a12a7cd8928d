"""Metrics and images as files of the run folder, and TensorBoard events."""

import io
import time

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_colorize.training.loggers.build import build_loggers, close_loggers, log_images
from lightning_colorize.training.loggers.files import MetricsFile
from lightning_colorize.training.options import LoggerOptions


def _fill(file, steps):
    for step in steps:
        file.update(step, {"train/loss": 1 / (step + 1), "epoch": step // 3})
        if step % 3 == 2:
            file.update(step, {"val/psnr": 20.0 + step, "epoch": step // 3})


def test_the_file_is_complete_after_every_update(tmp_path):
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    file.update(0, {"loss": 0.5, "epoch": 0})
    assert path.read_text() == "step,epoch,loss\n0,0,0.5\n"
    file.update(1, {"loss": 0.25, "epoch": 0})
    assert path.read_text() == "step,epoch,loss\n0,0,0.5\n1,0,0.25\n"
    file.update(1, {"acc": 1.0})
    assert path.read_text() == "step,epoch,acc,loss\n0,0,,0.5\n1,0,1.0,0.25\n"
    file.update(2, {"loss": 0.125, "epoch": 1})
    file.update(2, {"acc": 2.0})
    file.update(3, {"loss": 0.0625})
    assert path.read_text() == (
        "step,epoch,acc,loss\n0,0,,0.5\n1,0,1.0,0.25\n2,1,2.0,0.125\n3,,,0.0625\n"
    )


def test_rows_are_sorted_and_a_later_value_replaces_a_longer_one(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv")
    for step, loss in ((0, 0.123456789), (5, 0.123456789), (3, 3.0), (5, 7), (6, 6.0), (6, 8)):
        file.update(step, {"loss": loss})
    assert file.path.read_text() == "step,epoch,loss\n0,,0.123456789\n3,,3.0\n5,,7\n6,,8\n"


@pytest.mark.parametrize("resume_step", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("killed_after", [4, 7])
def test_resumed_file_equals_the_uninterrupted_one(tmp_path, killed_after, resume_step):
    resume_step = min(resume_step, killed_after)
    _fill(MetricsFile(tmp_path / "uninterrupted.csv"), range(9))
    _fill(MetricsFile(tmp_path / "killed.csv"), range(killed_after))
    _fill(MetricsFile(tmp_path / "killed.csv", resume_step), range(resume_step, 9))
    uninterrupted = (tmp_path / "uninterrupted.csv").read_bytes()
    assert (tmp_path / "killed.csv").read_bytes() == uninterrupted
    assert len(uninterrupted.splitlines()) == 10


@pytest.mark.parametrize("damaged", ["5", "\0\0\0\n", "\0\0,0,1\n", "52,0,\0\n", ",0,0.5\n"])
def test_damaged_row_is_dropped(tmp_path, damaged):
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,epoch,note\n49,0,0.5\n50,0,late\n{damaged}")
    MetricsFile(path).update(51, {"note": 0.125})
    assert path.read_text() == "step,epoch,note\n49,0,0.5\n50,0,late\n51,,0.125\n"


_LOCAL = LoggerOptions(wandb="disabled")
_IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)


def _log_image(loggers, name, step):
    log_images(loggers, name, torch.from_numpy(_IMAGE).movedim(-1, 0), step)


def _events(folder):
    return EventAccumulator(str(folder / "tensorboard")).Reload()


def test_an_image_reaches_tensorboard_and_the_disk_unchanged(tmp_path):
    loggers = build_loggers(tmp_path, _LOCAL)
    _log_image(loggers, "val/grid of 3", 50)
    close_loggers(loggers)
    file = Image.open(tmp_path / "images" / "val_grid_of_3_00000050.png")
    assert np.array_equal(np.asarray(file), _IMAGE)
    (event,) = _events(tmp_path).Images("val/grid of 3")
    assert event.step == 50
    decoded = Image.open(io.BytesIO(event.encoded_image_string))
    assert np.array_equal(np.asarray(decoded), _IMAGE)


def test_other_processes_have_no_wandb_run_either_if_it_is_disabled(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert not [one for one in build_loggers(tmp_path, _LOCAL) if isinstance(one, WandbLogger)]


def test_metrics_and_configuration_reach_tensorboard(tmp_path):
    loggers = build_loggers(tmp_path, _LOCAL)
    for logger in loggers:
        logger.log_hyperparams({"model.lr": 0.1, "model.loss": None})
        logger.log_metrics({"val/psnr": 21.5, "epoch": 0}, 3)
        logger.save()
    close_loggers(loggers)
    events = _events(tmp_path)
    (event,) = events.Scalars("val/psnr")
    assert (event.step, event.value) == (3, 21.5)
    (text,) = events.Tensors("config/text_summary")
    assert text.tensor_proto.string_val[0].decode() == "    model.lr: 0.1\n    model.loss: None"
    assert events.Tags()["tensors"] == ["config/text_summary"]
    assert {file.name for file in tmp_path.iterdir()} == {"metrics.csv", "tensorboard"}
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")
    assert not list(tmp_path.rglob("hparams.yaml"))


def test_tensorboard_drops_repeated_steps(tmp_path):
    for resume_step, steps in ((None, range(7)), (3, range(3, 8))):
        time.sleep(1.1 if resume_step else 0)  # TensorBoard orders its files by the second
        loggers = build_loggers(tmp_path, _LOCAL, resume_step)
        for step in steps:
            loggers[1].log_metrics({"train/loss": step + (resume_step or 0)}, step)
        close_loggers(loggers)
    logged = [(event.step, event.value) for event in _events(tmp_path).Scalars("train/loss")]
    assert logged == [(0, 0), (1, 1), (2, 2), (3, 6), (4, 7), (5, 8), (6, 9), (7, 10)]
