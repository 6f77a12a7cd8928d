"""A run over shards, killed at random."""

import os
import random
import signal
import time

import pytest
import torch

from lightning_colorize.cli import main
from lightning_colorize.runs.folder import BEST, LAST
from lightning_colorize.runs.result import RunResult
from tests.conftest import Commands, metric_rows, write_images
from tests.distributed.launchers import fork, kill_group
from tests.distributed.recorder import read_records

BATCH, STEPS_PER_EPOCH = 4, 5
KILLS, STEPS_PER_KILL = 3, 12


@pytest.fixture
def shards(tmp_path):
    """Packed images, of which each epoch drops the last two."""
    write_images(tmp_path / "photos/train", STEPS_PER_EPOCH * BATCH + 2)
    write_images(tmp_path / "photos/val", 3, first=100)
    words = ["--size", "36", "--images-per-shard", "5"]
    assert main(["pack", str(tmp_path / "photos"), str(tmp_path / "shards"), *words]) == 0
    return tmp_path / "shards"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_repeatedly_killed_run_equals_an_uninterrupted_one(shards, tmp_path):
    rng = random.Random(0)
    epochs = KILLS * STEPS_PER_KILL // STEPS_PER_EPOCH
    command = Commands(shards, tmp_path / "runs")
    runs = {name: command.root / "tiny" / name for name in ("uninterrupted", "killed")}
    folders = {name: tmp_path / f"records-{name}" for name in runs}

    def words(name):
        folders[name].mkdir(exist_ok=True)
        return command.words(
            name,
            *("--data.batch_size", BATCH, "--data.cache", "never"),
            *("--data.num_workers", 1, "--data.augmentation.grey_jitter", 0.5),
            *("--data.augmentation.rotation", 5),
            *("--run.auto_resume", "true", "--run.grid_images", 0),
            *("--run.save_every_n_minutes", 1e-9),
            *("--trainer.max_epochs", epochs, "--trainer.devices", 1),
            *("--trainer.callbacks+", "tests.distributed.recorder.BatchRecorder"),
            *("--trainer.callbacks.folder", folders[name]),
        )

    def recorded_batches():
        return len(next(iter(read_records(folders["killed"])), []))

    assert command("fit", *words("uninterrupted")) == 0
    resumed = 0
    for _ in range(KILLS):
        target = recorded_batches() + rng.randint(1, STEPS_PER_KILL - 4)
        process = fork("fit", *words("killed"))
        try:
            deadline = time.monotonic() + 400
            while recorded_batches() < target:
                assert process.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.002)
            # Anywhere in a step, or while a checkpoint is written.
            time.sleep(rng.uniform(0, 0.1))
            os.kill(process.pid, rng.choice([signal.SIGKILL, signal.SIGTERM]))
            process.join(400)
        finally:
            kill_group(process)
        assert process.exitcode, "the run finished before it could be killed"
        for name in (LAST, BEST):
            if (runs["killed"] / name).is_file():
                torch.load(runs["killed"] / name, weights_only=True)
        resumed += (runs["killed"] / LAST).is_file()
    assert command("fit", *words("killed")) == 0

    first, second = (torch.load(run / LAST, weights_only=True) for run in runs.values())
    assert second["global_step"] == first["global_step"] == epochs * STEPS_PER_EPOCH
    for key, value in first["state_dict"].items():
        assert torch.equal(second["state_dict"][key], value), key
    result = RunResult.read(runs["killed"])
    assert (result.status, result.restarts) == ("finished", resumed)
    assert metric_rows(runs["killed"]) == metric_rows(runs["uninterrupted"])
    # Of batches that were trained twice, the later ones count.
    histories = [
        [{(line["epoch"], line["batch"]): line for line in lines} for lines in read_records(folder)]
        for folder in folders.values()
    ]
    assert histories[0] == histories[1]
    for epoch in range(epochs):
        lines = [line for rank in histories[1] for line in rank.values() if line["epoch"] == epoch]
        names = [name for line in lines for name in line["names"]]
        assert len(names) == len(set(names)) == STEPS_PER_EPOCH * BATCH, f"epoch {epoch}"
