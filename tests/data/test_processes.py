"""Two processes (gloo, CPU) on a split of one image."""

import os
import subprocess
import sys

import pytest

from tests.conftest import Commands, write_images

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(300)]


def test_a_split_of_one_image_is_refused_before_training(tmp_path):
    for split, count in {"train": 8, "val": 1, "test": 2}.items():
        write_images(tmp_path / "photos" / split, count)
    words = Commands(tmp_path / "photos", tmp_path / "runs").words(
        "two", "--trainer.devices", 2, "--trainer.strategy", "ddp"
    )
    done = subprocess.run(
        [sys.executable, "-m", "lightning_colorize", "fit", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "1 val image for 2 processes, each needs at least one: pass --trainer.devices 1" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr
    assert "epoch 1" not in done.stdout
