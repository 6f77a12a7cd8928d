import numpy as np
import torch

from lightning_colorize.runs.metrics_file import read_rows
from lightning_colorize.training.loggers.files import RunFiles


def test_metrics_are_written_into_the_run_folder_itself(tmp_path):
    logger = RunFiles(tmp_path / "runs" / "name")
    assert not (tmp_path / "runs").exists()
    logger.log_metrics({"val/psnr": torch.tensor(21.5), "epoch": 0}, 7)
    logger.log_metrics({"val/ssim": 0.5})
    logger.save()
    (row,) = read_rows(tmp_path / "runs" / "name" / "metrics.csv")
    assert row == {"step": "7", "epoch": "0", "val/psnr": "21.5", "val/ssim": "0.5"}
    assert logger.name == "name"


def test_throughput_has_its_own_file(tmp_path):
    logger, throughput = RunFiles(tmp_path), tmp_path / "throughput.csv"
    logger.log_metrics({"throughput/images_per_second": 31.5}, 7)
    assert not (tmp_path / "metrics.csv").exists()
    logger.log_metrics({"train/loss": 0.5, "epoch": 0}, 7)
    assert (tmp_path / "metrics.csv").read_text() == "step,epoch,train/loss\n7,0,0.5\n"
    assert throughput.read_text() == "step,throughput/images_per_second\n7,31.5\n"
    RunFiles(tmp_path, resume_step=7).log_metrics({"throughput/images_per_second": 8.0}, 9)
    assert throughput.read_text() == "step,throughput/images_per_second\n9,8.0\n"


def test_without_csv_only_images_are_written(tmp_path):
    logger = RunFiles(tmp_path, csv=False)
    logger.log_metrics({"train/loss": 0.5}, 7)
    logger.add_image("grid", np.zeros((8, 12, 3), np.uint8), 7)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
