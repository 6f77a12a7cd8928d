"""A tiny GAN, and a callback that records its training."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch.optim import SGD

from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.losses import MSE, BCEAdversarial
from lightning_colorize.networks import ConvEncoder, PatchDiscriminator, UNetEncoder
from lightning_colorize.tasks import CGANTask, RegressionTask
from tests.conftest import Commands

TINY_GAN = {
    "--model": "lightning_colorize.tasks.CGANTask",
    "--model.encoder": "lightning_colorize.networks.UNetEncoder",
    "--model.encoder.depth": "3",
    "--model.encoder.width": "4",
    "--model.discriminator": "lightning_colorize.networks.PatchDiscriminator",
    "--model.discriminator.layers": "1",
    "--model.discriminator.width": "4",
    "--model.adversarial_loss": "lightning_colorize.losses.BCEAdversarial",
}

NETWORKS = ("generator", "discriminator")
STILL = partial(SGD, lr=0.0)
PLAIN = partial(SGD, lr=1.0)


def make_gan(*, discriminator=None, loss=None, content=None, **options):
    """Return a GAN for 32 pixels with the same first weights each time; no average by default."""
    torch.manual_seed(0)
    return CGANTask(
        UNetEncoder(32, depth=3, width=4),
        discriminator or PatchDiscriminator(layers=1, width=4),
        loss or BCEAdversarial(),
        **{"ema_decay": None, "loss": content, **options},
    )


def make_cnn(loss=None, **options):
    """Return a regression with the same first weights each time."""
    torch.manual_seed(0)
    return RegressionTask(ConvEncoder(widths=[4, 8]), loss or MSE(), **options)


def paint(net, a, b):
    """Make a generator predict this color everywhere, in LAB units."""
    net.head.conv.weight.data.zero_()
    net.head.conv.bias.data.copy_((torch.tensor([a, b]) / 110).atanh())


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before, after, prefix=""):
    """Return the names with a prefix whose values differ."""
    return {
        name
        for name in before
        if name.startswith(prefix) and not torch.equal(before[name], after[name])
    }


@dataclass
class Step:
    """One step of one optimizer, with its rate and the weights before and after."""

    batch: int
    network: str
    rate: float
    before: dict
    after: dict | None = None


class History(Callback):
    """Records batches, their logged values, and optimizer steps."""

    def __init__(self):
        self.batches = []
        self.logged = []
        self.steps = []

    def on_train_start(self, trainer, pl_module):
        def log(name, value, **_):
            self.logged[-1][name] = value.item()

        pl_module.log = log
        for network, optimizer in zip(NETWORKS, trainer.optimizers, strict=True):
            optimizer.register_step_pre_hook(partial(self._begin, pl_module, network))
            optimizer.register_step_post_hook(partial(self._end, pl_module))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch)
        self.logged.append({})

    def _begin(self, task, network, optimizer, *_):
        rate = optimizer.param_groups[0]["lr"]
        self.steps.append(Step(len(self.batches) - 1, network, rate, state(task)))

    def _end(self, task, *_):
        self.steps[-1].after = state(task)

    def batches_of(self, network):
        """Return the indices of the batches in which a network was updated."""
        return [step.batch for step in self.steps if step.network == network]


def make_trainer(**options):
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **{"log_every_n_steps": 1, **options},
    )


def train(task, data, **options):
    """Train without validation; returns the history, with its trainer."""
    history = History()
    trainer = make_trainer(limit_val_batches=0, callbacks=[history], **options)
    trainer.fit(task, data)
    history.trainer = trainer
    return history


@pytest.fixture
def data(photo_folder):
    """Three batches of four images an epoch, augmented."""
    return ColorizationDataModule(str(photo_folder), size=32, batch_size=4, num_workers=0, seed=0)


class OneBatch(ColorizationDataModule):
    """Repeats its first batch."""

    first = None

    def on_after_batch_transfer(self, batch, dataloader_idx):
        self.first = self.first or super().on_after_batch_transfer(batch, dataloader_idx)
        return self.first


@pytest.fixture
def one_batch(photo_folder):
    """One batch of four images, repeated."""
    return OneBatch(str(photo_folder), size=32, batch_size=4, num_workers=0, seed=0)


CLASSES = ("--model.loss", "lightning_colorize.losses.CrossEntropy")


@pytest.fixture(scope="session")
def classes(photo_folder, tmp_path_factory):
    """The folder of a classification with a moving average; read only."""
    command = Commands(photo_folder, tmp_path_factory.mktemp("classes"))
    return command.fit("classes", *CLASSES, "--model.ema_decay", 0.5)


GanCommands = partial(Commands, network=TINY_GAN)


@pytest.fixture
def gan_command(photo_folder, tmp_path):
    return GanCommands(photo_folder, tmp_path / "runs")
