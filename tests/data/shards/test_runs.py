"""Training over shards by the command."""

import csv
import signal
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback

from tests.conftest import write_images
from tests.data.shards.conftest import pack_folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """24 images for training in eight shards, four for validation, two for the test."""
    folder = tmp_path_factory.mktemp("many")
    for split, count, first in (("train", 24, 0), ("val", 4, 30), ("test", 2, 40)):
        write_images(folder / "photos" / split, count, first)
    pack_folder(folder / "photos", folder / "shards", size=36)
    return folder / "shards"


class RecordImages(Callback):
    """Records the images of each step, and interrupts the run once."""

    names: tuple[tuple[int, int, tuple[str, ...]], ...] = ()
    stop_at = 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        RecordImages.names += ((trainer.current_epoch, batch_idx, tuple(batch.names)),)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step + 1 == RecordImages.stop_at:
            RecordImages.stop_at = 0
            signal.raise_signal(signal.SIGINT)  # the run stops after this batch


@pytest.fixture
def recorded(monkeypatch):
    from lightning_colorize.training import cli as training

    monkeypatch.setattr(training, "progress_callbacks", lambda: [RecordImages()])
    RecordImages.names, RecordImages.stop_at = (), 0
    return RecordImages


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def options(shards, *more):
    return ["--data.root", shards, "--data.cache", "never", "--run.save_every_n_steps", 2, *more]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_resume_over_shards_is_bit_exact(command, shards, recorded, workers):
    words = options(shards, "--data.num_workers", workers)
    uninterrupted = command.fit("uninterrupted", *words)
    expected = recorded.names
    epochs = [
        sorted(name for epoch, _, names in expected if epoch == number for name in names)
        for number in range(2)
    ]
    assert epochs[0] == epochs[1]
    assert len(set(epochs[0])) == 24
    RecordImages.names, RecordImages.stop_at = (), 8  # in mid-epoch: the second of six batches
    run = command.root / "tiny" / "stopped"
    assert command("fit", *command.words("stopped", *words)) == 130
    before, RecordImages.names = recorded.names, ()
    assert command("resume", run) == 0
    assert before + recorded.names == expected
    first, second = weights(run), weights(uninterrupted)
    assert all(torch.equal(first[name], second[name]) for name in second)
    rows = [list(csv.DictReader((r / "metrics.csv").open())) for r in (run, uninterrupted)]
    assert rows[0] == rows[1]


def test_data_size_above_the_packed_size_is_refused(command, shards, capsys):
    words = command.words("large", *options(shards, "--data.size", 40))
    assert command("fit", *words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "a size of 40 is more than the 36 pixels that the images are packed at" in last
    assert "with --size 45" in last


def test_evaluate_reads_shards(command, shards, finished_run, tmp_path, capsys):
    assert command("evaluate", finished_run, "--data", shards) == 0
    assert "2 test images of" in capsys.readouterr().out
    assert command("evaluate", finished_run, "--data", shards, "--split", "val") == 0
    assert "4 val images of" in capsys.readouterr().out


def test_a_url_is_not_made_absolute():
    from lightning_colorize.training.cli import absolute

    assert absolute("s3://bucket/shards") == "s3://bucket/shards"
    assert absolute("shards") == str(Path.cwd() / "shards")
