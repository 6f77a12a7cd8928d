"""Fixtures of the data tests, and helpers that run a Trainer and compare batches."""

import multiprocessing
import signal

import pytest
import torch
from pytorch_lightning import LightningModule

from lightning_colorize.data.module import ColorizationDataModule
from tests.tasks.conftest import make_trainer


class Recorder(LightningModule):
    """Collects the batches of each stage."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches = {"train": [], "val": [], "test": []}

    def training_step(self, batch, batch_idx):
        self.batches["train"].append(batch)
        return self.weight * batch.L.mean()

    def validation_step(self, batch, batch_idx):
        self.batches["val"].append(batch)

    def test_step(self, batch, batch_idx):
        self.batches["test"].append(batch)

    def predict_step(self, batch, batch_idx):
        return batch.names, batch.L

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(datamodule, folder, test=True, **options):
    """Fit, and test; returns the recorder of the batches."""
    recorder = Recorder()
    trainer = make_trainer(default_root_dir=folder, **{"max_epochs": 1, **options})
    trainer.fit(recorder, datamodule)
    if test:
        trainer.test(recorder, datamodule, verbose=False)
    return recorder


def data_module(root, source=None, stage="fit", **options):
    """Return a data module of small images that is set up, by default without workers and cache."""
    settings = {"size": 32, "batch_size": 4, "num_workers": 0, "cache": "never", "seed": 3}
    data = ColorizationDataModule(str(root), source, **settings | options)
    data.prepare_data()
    data.setup(stage)
    return data


def names_in(batches):
    return [name for batch in batches for name in batch.names]


def assert_same(batches, others):
    """Compare names and pixels, batch by batch."""
    batches, others = list(batches), list(others)
    assert [batch.names for batch in batches] == [batch.names for batch in others]
    assert batches
    assert all(torch.equal(a.rgb, b.rgb) for a, b in zip(batches, others, strict=True))


@pytest.fixture(autouse=True)
def no_process_is_left():
    """End the processes of loaders that were not read to their end: torch waits 5 s for each."""
    yield
    left = multiprocessing.active_children()
    if left and hasattr(signal, "SIGCHLD"):
        torchs = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for child in left:
            child.kill()
            child.join()
        signal.signal(signal.SIGCHLD, torchs)
