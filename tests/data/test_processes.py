"""A plain Trainer of two processes (gloo, CPU)."""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import write_images

pytestmark = [pytest.mark.ddp, pytest.mark.timeout(300)]


PLAIN = """
import sys
from pytorch_lightning import LightningModule, Trainer
import torch
from lightning_colorize.data import ColorizationDataModule

class Names(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
    def training_step(self, batch, batch_idx):
        print(*batch.names)
        return self.weight * batch.L.mean()
    validation_step = predict_step = training_step
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

if __name__ == "__main__":
    data = ColorizationDataModule(sys.argv[1], size=16, batch_size=2, num_workers=0)
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, num_sanity_val_steps=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
    )
    trainer.fit(Names(), data)
    trainer.predict(Names(), data, return_predictions=False)
"""


def test_plain_trainer_with_two_processes(tmp_path):
    counts = {"train": 8, "val": 4, "test": 4}
    for split, count in counts.items():
        write_images(tmp_path / "photos" / split, count)
    script = tmp_path / "plain.py"
    script.write_text(PLAIN)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "photos"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for split, count in counts.items():
        names = re.findall(rf"{split}/\d+\.\w{{3}}", done.stdout)
        assert len(names) == len(set(names)) == count
