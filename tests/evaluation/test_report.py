import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from lightning_colorize.evaluation import print_result
from lightning_colorize.runs.result import RunResult

_RESULT = {
    "status": "stopped_early",
    "metrics": {"train/loss": 0.1, "val/psnr": 23.0, "val/loss": 0.2, "test/psnr": 22.5},
    "baselines": {"grey": {"val/psnr": 21.5, "test/psnr": 21.25}, "lut": {"val/psnr": 22.0}},
    "best_checkpoint": "checkpoints/best.ckpt",
    "monitor": "val/psnr",
    "epochs": 12,
    "images_seen": 58000,
    "seconds": 902.4,
    "images_per_second": 64.27,
    "device_hours": 1.0026,
    "steady_images_per_second": 71.8,
    "data_wait_share": 0.0312,
    "peak_device_memory": 5 * 2**30,
}


def _printed(result, folder, **counts):
    file = io.StringIO()
    print_result(RunResult(**result), folder, console=Console(file=file, width=60), counts=counts)
    return file.getvalue()


@pytest.mark.parametrize(
    ("folder", "root"),
    [
        ("runs/experiment/name", ""),
        (f"/a/rather/long{'/path' * 12}/[e]/name", f" --root /a/rather/long{'/path' * 12}"),
    ],
)
def test_summary_of_a_run(folder, root):
    text = _printed(_RESULT, Path(folder), val=1200, test=1)
    lines = [line.split() for line in text.splitlines()]
    assert ["validation,", "best", "epoch,", "1,200", "images", "psnr"] in lines
    assert ["test,", "1", "image", "psnr"] in lines
    assert ["model", "23.00"] in lines
    assert ["model", "22.50"] in lines
    assert ["grey", "21.25"] in lines
    assert "stopped early 12 epochs, 58,000 images in 0:15:02 (64/s)\n" in text
    assert (
        "compute   1 device hours, 72 images/s in steady state, 3.1% of it waiting for"
        " data, peak device memory 5.0 GiB\n"
    ) in text
    assert f"{folder}/checkpoints/best.ckpt\n" in text
    assert f"lightning-colorize colorize INPUT OUTPUT --checkpoint {folder}\n" in text
    assert f"{folder}/images\n" in text
    assert f"lightning-colorize dashboard{root}\n" in text
    assert f"lightning-colorize runs list{root}\n" in text


def test_a_diverged_run_has_a_table():
    lost = {"val/psnr": None, "val/ab_corr": None}
    text = _printed(_RESULT | {"metrics": lost, "monitor": None}, Path("runs/e/n"))
    assert re.search(r"^validation, last epoch", text, re.MULTILINE)
    assert re.search(r"^model +- +-$", text, re.MULTILINE)


@pytest.mark.parametrize("metrics", [{}, {"train/loss": 0.1}])
def test_a_run_that_ended_before_its_first_validation(metrics):
    result = _RESULT | {
        "status": "interrupted", "metrics": metrics, "best_checkpoint": None, "epochs": 1,
        "images_per_second": None, "seconds": 0.0, "device_hours": 0.00021,
        "steady_images_per_second": None, "data_wait_share": None,
        "peak_device_memory": None,
    }  # fmt: skip
    text = _printed(result, Path("runs/e/n"))
    assert "psnr" not in text
    assert "best.ckpt" not in text
    assert "1 epoch," in text
    assert "compute   0.00021 device hours\n" in text
