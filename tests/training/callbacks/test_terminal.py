"""The banner and the progress of a run."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import RichProgressBar
from torch import nn
from torch.optim import SGD

from lightning_colorize.data.image_set import Notes
from lightning_colorize.training.callbacks import Banner
from lightning_colorize.training.callbacks.result import ResultWriter
from lightning_colorize.training.callbacks.terminal import (
    LineProgress,
    ProgressBar,
    banner_rows,
    progress_callback,
)
from tests.tasks.conftest import make_gan
from tests.training.callbacks.conftest import fake_trainer


def make_run(processes=1, accumulated=1):
    encoder = nn.Linear(2, 3)
    encoder.weights_from = "somewhere.pt"
    encoder.requires_grad_(False)
    net = nn.ModuleDict({"encoder": encoder, "decoder": nn.Linear(1000, 2, bias=False)})
    net.encoder = encoder
    module = SimpleNamespace(net=net, device=torch.device("cpu"), optimizer_names=[""])
    module.compiles = module.uses_graphs = False
    data = SimpleNamespace(batch_size=4, size=96, counts=lambda: {"train": 12345, "val": 6})
    data.label_names, data.originals = [], lambda split: SimpleNamespace(notes=Notes())
    trainer = fake_trainer(
        **{"datamodule": data, "world_size": processes, "accumulate_grad_batches": accumulated},
        **{"precision": "32-true", "default_root_dir": "runs/x/1"},
        optimizers=[SGD(net.parameters(), lr=0.25)],
    )
    return trainer, module


def test_banner_rows():
    rows = dict(banner_rows(*make_run()))
    assert rows == {
        "device": "cpu x 1, precision 32-true",
        "network": "2,000 parameters trainable, 9 frozen",
        "encoder": "Linear, weights: somewhere.pt",
        "images": "12,345 train, 6 val; 96 px",
        "batch": "4",
        "rate": "SGD 0.25; not scaled with the batch",
        "loggers": "none",
        "run": "runs/x/1",
    }


@pytest.mark.parametrize(
    ("graphs", "said"),
    [(False, "networks compiled in"), (True, "networks compiled as CUDA graphs in")],
)
def test_banner_says_that_networks_are_compiled(graphs, said):
    trainer, module = make_run()
    module.compiles, module.uses_graphs = True, graphs
    device = dict(banner_rows(trainer, module))["device"]
    assert device == f"cpu x 1, precision 32-true, {said} the first batches"


def test_a_gan_has_two_rates():
    trainer, _ = make_run()
    gan = make_gan(discriminator_optimizer=partial(SGD, lr=0.5))
    trainer.optimizers = gan.configure_optimizers()[0]
    gan.net.encoder.weights_from = "scratch"
    rate = "generator Adam 0.0002, discriminator SGD 0.5; not scaled with the batch"
    assert dict(banner_rows(trainer, gan))["rate"] == rate


def test_only_rank_zero_prints_and_does_not_wrap_paths(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    trainer, module = make_run()
    trainer.default_root_dir = "/data/[old]/" + "long/" * 30
    trainer.is_global_zero = False
    Banner().on_fit_start(trainer, module)
    assert capsys.readouterr().out == ""
    trainer.is_global_zero = True
    Banner().on_fit_start(trainer, module)
    out = capsys.readouterr().out
    assert f"run       /data/[old]/{'long/' * 30}"[:-1] in out
    assert "\x1b" not in out


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
    assert isinstance(progress_callback(None), ProgressBar)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert isinstance(progress_callback(None), LineProgress)


def test_the_bar_reads_values_every_half_second(monkeypatch, trainer):
    shown, now = {"val/psnr": 1.0}, 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(RichProgressBar, "get_metrics", lambda *_: dict(shown))
    trainer.is_last_batch = trainer.validating = False
    bar = ProgressBar("val/other")
    assert bar.get_metrics(trainer, None) == {
        "val/psnr": 1.0,
        "val/other": 1.0,
        "train/loss": pytest.approx(0.0123456),
    }
    shown["val/psnr"] = 2.0
    now += 0.4
    assert bar.get_metrics(trainer, None)["val/psnr"] == 1.0
    now += 0.1
    assert bar.get_metrics(trainer, None)["val/psnr"] == 2.0
    trainer.callbacks, trainer.callback_metrics = [], {"train/loss": torch.tensor(3.0)}
    trainer.is_last_batch = True
    assert bar.get_metrics(trainer, None)["train/loss"] == 3.0


def test_progress_lines_every_30_s_and_after_each_validation(monkeypatch, trainer, capsys):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines = LineProgress("val/other")
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
        "epoch 3, batch 15/50: train/loss 0.01235, val/psnr 21.99, val/other 1",
        "epoch 3, validating, batch 2/8: train/loss 0.01235, val/psnr 21.99, val/other 1",
        "epoch 3, validating, batch 5/8: train/loss 0.01235, val/psnr 21.99, val/other 1",
        "epoch 3, validating, batch 8/8: train/loss 0.01235, val/psnr 21.99, val/other 1",
        "epoch 3, testing, batch 15/20: train/loss 0.01235, val/psnr 21.99, val/other 1",
        "epoch 3, validated: train/loss 0.01235, val/psnr 21.99, val/other 1",
    ]
    trainer.is_global_zero = False
    now += 100.0
    lines.on_test_batch_end(trainer, None, None, None, 0)
    lines.on_validation_batch_end(trainer, None, None, None, 0)
    lines.on_validation_end(trainer, None)
    trainer.is_global_zero, trainer.sanity_checking = True, True
    lines.on_validation_end(trainer, None)
    assert capsys.readouterr().out == ""
