"""Two processes (gloo, CPU) train and measure as one does."""

import csv
import os
import subprocess
import sys

import pytest
import torch

from lightning_colorize.run_folder import read_result

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(900)]

# Group norm, no augmentation on the device: what is left is the same arithmetic in another order.
SETTINGS = [
    *("--model.encoder.norm", "group", "--model.decoder", "UpsampleDecoder"),
    *("--model.decoder.norm", "group", "--data.flip", 0, "--data.crop_scale", "null"),
    *("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", 0.05),
]


@pytest.fixture(scope="module")
def runs(photo_folder, tmp_path_factory):
    """The folders of a run of one process and of one of two."""
    from tests.conftest import Commands

    command = Commands(photo_folder, tmp_path_factory.mktemp("runs"))
    one = command.fit("one", *SETTINGS, "--data.batch_size", 4)
    two = ["--data.batch_size", 2, "--trainer.devices", 2, "--trainer.strategy", "ddp"]
    words = command.words("two", *SETTINGS, *two)
    # Without a name, the second process is told the first one's.
    del words[words.index("--run.name") : words.index("--run.name") + 2]
    done = subprocess.run(
        [sys.executable, "-m", "lightning_colorize", "fit", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folders = [folder for folder in (command.root / "tiny").iterdir() if folder != one]
    assert len(folders) == 1, "each process made a run of its own"
    return one, folders[0], done.stdout


def test_two_processes_leave_one_run_and_one_banner(runs):
    _, two, out = runs
    assert out.count("pictures  12 train") == 1
    assert "device    cpu x 2" in out
    assert "batch     4 = 2 x 2 processes x 1 accumulated" in out
    result = read_result(two)
    assert (result["status"], result["batches"], result["images_seen"]) == ("finished", 6, 24)


def test_two_processes_learn_what_one_does(runs):
    first, second = (
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in runs[:2]
    )
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-5, rtol=1e-4)


def test_two_processes_measure_what_one_does(runs):
    # Five and three pictures over two processes: nothing is padded, nothing counted twice.
    first, second = (read_result(run) for run in runs[:2])
    for name, value in first["metrics"].items():
        if not name.startswith("train/"):
            assert second["metrics"][name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    for baseline in ("grey", "mean", "lut"):
        expected = pytest.approx(first["baselines"][baseline], rel=1e-4, abs=1e-4)
        assert second["baselines"][baseline] == expected


def test_rows_are_written_once(runs):
    tables = []
    for run in runs[:2]:
        with (run / "metrics.csv").open() as file:
            tables.append([(row["step"], bool(row["val/psnr"])) for row in csv.DictReader(file)])
    assert tables[0] == tables[1]
