import csv

import pytest
import torch

from lightning_colorize.training.loggers.csv_file import CsvRun, MetricsFile


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


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


def test_a_later_value_replaces_a_longer_one(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv")
    for step in range(2):
        file.update(step, {"loss": 0.123456789})
    file.update(1, {"loss": 7})
    assert file.path.read_text() == "step,epoch,loss\n0,,0.123456789\n1,,7\n"


def test_rows_are_sorted_by_step(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv")
    for step in (0, 5, 3, 5, 6):
        file.update(step, {"loss": float(step)})
    assert [row["step"] for row in _rows(file.path)] == ["0", "3", "5", "6"]


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


def test_incomplete_row_is_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,loss\n49,0,0.5\n50,0,0.25\n5")
    MetricsFile(path).update(51, {"loss": 0.125})
    assert path.read_text() == "step,epoch,loss\n49,0,0.5\n50,0,0.25\n51,,0.125\n"


def test_logger_writes_directly_into_the_run_folder(tmp_path):
    logger = CsvRun(tmp_path / "runs" / "experiment" / "name")
    assert not (tmp_path / "runs").exists()
    logger.log_metrics({"val/psnr": torch.tensor(21.5), "epoch": 0}, 7)
    logger.log_metrics({"val/ssim": 0.5})
    logger.save()
    (row,) = _rows(tmp_path / "runs" / "experiment" / "name" / "metrics.csv")
    assert row == {"step": "7", "epoch": "0", "val/psnr": "21.5", "val/ssim": "0.5"}
    assert logger.name == "name"


def test_throughput_has_its_own_file(tmp_path):
    logger = CsvRun(tmp_path)
    logger.log_metrics({"throughput/images_per_second": 31.5}, 7)
    assert not (tmp_path / "metrics.csv").exists()
    logger.log_metrics({"train/loss": 0.5, "epoch": 0}, 7)
    assert (tmp_path / "metrics.csv").read_text() == "step,epoch,train/loss\n7,0,0.5\n"
    assert (
        tmp_path / "throughput.csv"
    ).read_text() == "step,throughput/images_per_second\n7,31.5\n"
    CsvRun(tmp_path, resume_step=7).log_metrics({"throughput/images_per_second": 8.0}, 9)
    throughput = tmp_path / "throughput.csv"
    assert throughput.read_text() == "step,throughput/images_per_second\n9,8.0\n"
