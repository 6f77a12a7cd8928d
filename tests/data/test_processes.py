"""A plain Trainer of two processes (gloo, CPU)."""

import pytest
from pytorch_lightning import Trainer

from lightning_colorize.data import ColorizationDataModule
from tests.conftest import write_images
from tests.data.conftest import Recorder

pytestmark = pytest.mark.ddp


class Names(Recorder):
    """Appends the names of its images to a file, from all processes."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def training_step(self, batch, batch_idx):
        with self.file.open("a") as file:
            file.write("".join(f"{name}\n" for name in batch.names))
        return self.weight * batch.L.mean()

    validation_step = predict_step = training_step


def test_plain_trainer_with_two_processes(tmp_path):
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        write_images(tmp_path / "photos" / split, count)
    data = ColorizationDataModule(str(tmp_path / "photos"), size=16, batch_size=2, num_workers=0)
    task = Names(tmp_path / "names")
    options = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_fork", "max_epochs": 1}
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "num_sanity_val_steps")
    trainer = Trainer(**options, **dict.fromkeys(off, False))
    trainer.fit(task, data)
    trainer.predict(task, data, return_predictions=False)
    shown = sorted(task.file.read_text().splitlines())
    expected = tmp_path.glob("photos/*/*")
    assert shown == sorted(str(path.relative_to(tmp_path / "photos")) for path in expected)
