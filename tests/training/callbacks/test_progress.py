from pathlib import Path

import pytest
import torch

from lightning_colorize.training.callbacks.result import ResultWriter
from lightning_colorize.training.callbacks.terminal import (
    LineProgress,
    ProgressBar,
    progress_callback,
)
from tests.training.callbacks.conftest import fake_trainer


@pytest.fixture
def trainer():
    writer = ResultWriter(Path(), None, None, None)
    writer.losses = [torch.tensor(0.0123456 * 7), 7]
    return fake_trainer(
        **{"current_epoch": 2, "num_training_batches": 50},
        **{"num_val_batches": [8], "num_test_batches": [20]},
        callback_metrics={"val/psnr": torch.tensor(21.987), "val/other": torch.tensor(1.0)},
        callbacks=[writer],
    )


def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert isinstance(progress_callback(), ProgressBar)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert isinstance(progress_callback(), LineProgress)


def test_progress_lines_every_30_s_and_after_each_validation(monkeypatch, trainer, capsys):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines = LineProgress()
    now += 500.0  # set-up
    lines.on_train_start(trainer, None)
    for batch in range(20):
        now += 2.0
        lines.on_train_batch_end(trainer, None, None, None, batch)
    for batch in range(8):
        now += 10.0
        lines.on_validation_batch_end(trainer, None, None, None, batch)
    for batch in range(20):
        now += 2.0
        lines.on_test_batch_end(trainer, None, None, None, batch)
    lines.on_validation_end(trainer, None)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 3, batch 15/50: train/loss 0.01235, val/psnr 21.99",
        "epoch 3, validating, batch 2/8: train/loss 0.01235, val/psnr 21.99",
        "epoch 3, validating, batch 5/8: train/loss 0.01235, val/psnr 21.99",
        "epoch 3, validating, batch 8/8: train/loss 0.01235, val/psnr 21.99",
        "epoch 3, testing, batch 15/20: train/loss 0.01235, val/psnr 21.99",
        "epoch 3, validated: train/loss 0.01235, val/psnr 21.99",
    ]
    trainer.is_global_zero = False
    now += 100.0
    lines.on_test_batch_end(trainer, None, None, None, 0)
    lines.on_validation_batch_end(trainer, None, None, None, 0)
    lines.on_validation_end(trainer, None)
    trainer.is_global_zero, trainer.sanity_checking = True, True
    lines.on_validation_end(trainer, None)
    assert capsys.readouterr().out == ""
