import io
import re
import shlex
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
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert lines >= {
        "validation, best epoch, 1,200 images psnr",
        "test, 1 image psnr",
        "model 23.00",
        "model 22.50",
        "grey 21.25",
        "stopped early 12 epochs, 58,000 images in 0:15:02 (64/s)",
        "compute 1 device hours, 72 images/s in steady state, 3.1% of it waiting for data, "
        "peak device memory 5.0 GiB",
        f"best {folder}/checkpoints/best.ckpt",
        f"color lightning-colorize colorize INPUT OUTPUT --checkpoint {shlex.quote(folder)}",
        f"images {folder}/images",
        f"curves lightning-colorize dashboard{root}",
        f"runs lightning-colorize runs list{root}",
    }


def test_runs_that_diverged_or_ended_early_have_a_summary():
    lost = {"val/psnr": None, "val/ab_corr": None}
    text = _printed(_RESULT | {"metrics": lost, "monitor": None}, Path("runs/e/n"))
    assert re.search(r"^validation, last epoch", text, re.MULTILINE)
    assert re.search(r"^model +- +-$", text, re.MULTILINE)
    result = {"status": "interrupted", "metrics": {"train/loss": 0.1}, "baselines": {}, "epochs": 1}
    text = _printed(result, Path("runs/e/n"))
    assert "1 epoch," in text
    assert not re.search(r"psnr|best\.ckpt", text)
