"""Two processes (gloo, CPU) train and measure as one does."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from lightning_colorize.runs.result import RunResult

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
    assert out.count("images    12 train") == 1
    assert "device    cpu x 2" in out
    assert "batch     4 = 2 x 2 processes x 1 accumulated" in out
    result = RunResult.read(two)
    assert (result.status, result.batches, result.images_seen) == ("finished", 6, 24)


def test_two_processes_cost_the_same_arithmetic_and_twice_the_devices(runs):
    one, two = (RunResult.read(run) for run in runs[:2])
    assert two.training_flops == one.training_flops > 0
    assert two.device_hours == pytest.approx(2 * two.seconds / 3600, abs=1e-5)
    assert two.steady_images_per_second > two.images_per_second
    assert 0 < two.data_wait_share < 1


def test_two_processes_learn_what_one_does(runs):
    first, second = (
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in runs[:2]
    )
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-5, rtol=1e-4)


def test_two_processes_measure_what_one_does(runs):
    # Five and three images over two processes: nothing is padded, nothing counted twice.
    first, second = (RunResult.read(run) for run in runs[:2])
    for name, value in first.metrics.items():
        if not name.startswith("train/"):
            assert second.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    for baseline in ("grey", "mean", "lut"):
        expected = pytest.approx(first.baselines[baseline], rel=1e-4, abs=1e-4)
        assert second.baselines[baseline] == expected


def test_rows_are_written_once(runs):
    tables = []
    for run in runs[:2]:
        with (run / "metrics.csv").open() as file:
            tables.append([(row["step"], bool(row["val/psnr"])) for row in csv.DictReader(file)])
    assert tables[0] == tables[1]


# Batch norm, crops and momentum, over two processes that each see their own images.
STATEFUL = ["--trainer.devices", 2, "--trainer.strategy", "ddp", "--data.batch_size", 2]


def start(*words):
    """Start the command as a process of its own, which starts the second one."""
    return subprocess.Popen(
        [sys.executable, "-m", "lightning_colorize", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_that_are_terminated_go_on_where_they_were(photo_folder, tmp_path):
    from tests.conftest import Commands

    command = Commands(photo_folder, tmp_path)
    options = [*STATEFUL, "--trainer.max_epochs", 16]
    whole = start("fit", *command.words("whole", *options))
    assert whole.wait(timeout=300) == 0, whole.stderr.read()
    run = command.root / "tiny" / "told"
    told = start("fit", *command.words("told", *options))
    deadline = time.monotonic() + 200
    while not (run / "metrics.csv").exists() or (run / "metrics.csv").read_text().count("\n") < 3:
        assert told.poll() is None, told.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    told.send_signal(signal.SIGTERM)
    _, err = told.communicate(timeout=120)
    assert told.returncode == 143, err
    result = RunResult.read(run)
    assert result.status == "interrupted"
    assert result.epochs < 16
    resumed = start("resume", run)
    assert resumed.wait(timeout=300) == 0, resumed.stderr.read()
    assert RunResult.read(run).status == "finished"
    first, second = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in (command.root / "tiny" / "whole", run)
    )
    for name, value in first.items():
        assert torch.equal(second[name], value), name
