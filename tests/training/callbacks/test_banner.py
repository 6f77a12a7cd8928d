from functools import partial
from types import SimpleNamespace

import torch
from torch import nn
from torch.optim import SGD

from lightning_colorize.data.image_set import Notes
from lightning_colorize.training.callbacks import Banner
from lightning_colorize.training.callbacks.terminal import banner_rows
from tests.tasks.conftest import make_gan
from tests.training.callbacks.conftest import fake_trainer


def make_run(processes=1, accumulated=1):
    encoder = nn.Linear(2, 3)
    encoder.weights_from = "somewhere.pt"
    encoder.requires_grad_(False)
    net = nn.ModuleDict({"encoder": encoder, "decoder": nn.Linear(1000, 2, bias=False)})
    net.encoder = encoder
    module = SimpleNamespace(net=net, device=torch.device("cpu"), optimizer_names=[""])
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
