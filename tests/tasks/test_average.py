"""The moving average of a network's weights: values, updates, use."""

from functools import partial

import pytest
import torch
from pytorch_lightning import Callback
from torch import nn
from torch.optim import SGD

from lightning_colorize.losses import MSE
from lightning_colorize.networks import ConvEncoder
from lightning_colorize.tasks import RegressionTask
from lightning_colorize.tasks.optimization import AveragedNetwork
from tests.tasks.conftest import changed, make_gan, make_trainer, paint, state

# 2 / 11 and 3 / 12 are less than 0.9.
DECAYS = [0.0, 2 / 11, 3 / 12]


def averages(states):
    """Yield the average after each state, computed by hand; the first is a copy."""
    average = None
    for index, current in enumerate(states):
        decay = DECAYS[index]
        if average is None:
            average = {name: value.double() for name, value in current.items()}
        for name, value in current.items():
            if value.is_floating_point():
                average[name] = decay * average[name] + (1 - decay) * value.double()
            else:
                average[name] = value.clone()
        yield dict(average)


def assert_is(module, average):
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), average[name], rtol=1e-5, atol=1e-7)
        else:
            assert torch.equal(value, average[name]), name


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_invalid_decays_are_refused(network, decay):
    with pytest.raises(ValueError, match=r"ema_decay must be from 0 to below 1"):
        AveragedNetwork(network, decay)


FAST = partial(SGD, lr=0.01)


def mse_of(color, data, split):
    """Return the mean squared error of one constant color over a split's images."""
    ab = torch.cat([batch.ab for batch in data.color_batches(split)])
    return (torch.tensor(color).view(1, 2, 1, 1) - ab).square().mean().item()


def make_cnn(**options):
    torch.manual_seed(0)
    return RegressionTask(ConvEncoder(widths=[4, 8]), MSE(), **{"optimizer": FAST, **options})


@pytest.mark.parametrize("make", [make_gan, make_cnn])
@pytest.mark.parametrize(("decay", "color"), [(0.9, (0.0, -20.0)), (None, (30.0, 10.0))])
def test_average_is_validated_tested_and_used_for_coloring(data, make, decay, color):
    task = make(ema_decay=decay)
    paint(task.net, 30.0, 10.0)
    if decay is not None:
        paint(task.averaged.module, 0.0, -20.0)
    trainer = make_trainer()
    validated = trainer.validate(task, data, verbose=False)[0]
    assert validated["val/mse_ab"] == pytest.approx(mse_of(color, data, "val"), rel=1e-4)
    tested = trainer.test(task, data, verbose=False)[0]
    assert tested["test/mse_ab"] == pytest.approx(mse_of(color, data, "test"), rel=1e-4)
    L = torch.full((1, 1, 15, 32), 50.0)
    colored, trained = task.eval()(L), task.train()(L)
    torch.testing.assert_close(task.eval().to_model().color(L)[0], colored)
    assert colored.mean(dim=(0, 2, 3)).tolist() == pytest.approx(color, abs=1e-3)
    assert trained.mean(dim=(0, 2, 3)).tolist() == pytest.approx([30.0, 10.0], abs=1e-3)


@pytest.mark.parametrize(
    ("make", "steps", "accumulated"),
    [
        (partial(make_gan, generator_optimizer=FAST), 3, False),
        (partial(make_gan, generator_optimizer=FAST, generator_every_n_batches=2), 2, False),
        (make_cnn, 3, False),
        (make_cnn, 2, True),
    ],
)
def test_each_step_of_the_network_updates_the_average_once(data, make, steps, accumulated):
    task, states = make(ema_decay=0.9), []

    class Recorder(Callback):
        def on_train_start(self, trainer, pl_module):
            optimizer = trainer.optimizers[0]
            optimizer.register_step_post_hook(lambda *_: states.append(state(task.net)))

    options = {"accumulate_grad_batches": 2} if accumulated else {}
    trainer = make_trainer(max_epochs=1, limit_val_batches=0, callbacks=[Recorder()], **options)
    trainer.fit(task, data)
    assert int(task.averaged.n_averaged) == len(states) == steps
    *_, expected = averages(states)
    averaged = task.averaged.module.state_dict()
    if accumulated:  # batch norms see every batch, and the average every second
        expected |= {n: value.double() for n, value in averaged.items() if ".running_" in n}
    assert_is(task.averaged.module, expected)
    assert changed(state(task.net), averaged)
