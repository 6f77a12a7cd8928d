"""The moving average of a network's weights: values, updates, use."""

from functools import partial

import pytest
import torch
from pytorch_lightning import Callback
from torch import nn
from torch.optim import SGD

from lightning_colorize.tasks.optimization import AveragedNetwork
from tests.tasks.conftest import changed, make_cnn, make_gan, make_trainer, paint, state


def average_of(states):
    """Return the average after the last state, computed by hand; the first is a copy."""
    average, *later = states
    # 2 / 11 and 3 / 12 are less than 0.9.
    for decay, current in zip((2 / 11, 3 / 12), later, strict=False):
        average = {
            name: decay * average[name] + (1 - decay) * value
            if value.is_floating_point()
            else value
            for name, value in current.items()
        }
    return average


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_invalid_decays_are_refused(decay):
    with pytest.raises(ValueError, match=r"ema_decay must be from 0 to below 1"):
        make_cnn(ema_decay=decay)


FAST = partial(SGD, lr=0.01)


def mse_of(color, data, split):
    """Return the mean squared error of one constant color over a split's images."""
    ab = torch.cat([batch.ab for batch in data.color_batches(split)])
    return (torch.tensor(color).view(1, 2, 1, 1) - ab).square().mean().item()


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
        (partial(make_cnn, optimizer=FAST), 3, False),
        (partial(make_cnn, optimizer=FAST), 2, True),
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
    expected, averaged = average_of(states), task.averaged.module.state_dict()
    if accumulated:  # batch norms see every batch, and the average every second
        expected |= {name: value for name, value in averaged.items() if ".running_" in name}
    torch.testing.assert_close(dict(averaged), expected, rtol=1e-5, atol=1e-7)
    assert changed(state(task.net), averaged)


def test_a_network_without_buffers_is_averaged():
    network = nn.Linear(1, 1, bias=False)
    averaged = AveragedNetwork(network, 0.9)
    for value in (1.0, 4.0):
        network.weight.data.fill_(value)
        averaged.update_parameters(network)
    assert averaged.module.weight.item() == pytest.approx((2 * 1 + 9 * 4) / 11)


@pytest.mark.parametrize("how", ["load", "move"])
def test_an_average_continues_after_a_load_or_a_move(how):
    network = nn.BatchNorm1d(1)
    averaged = AveragedNetwork(network, 0.9)
    averaged.update_parameters(network)
    if how == "load":
        averaged.load_state_dict(averaged.state_dict() | {"n_averaged": torch.tensor(80)})
    else:
        averaged.n_averaged.fill_(80)
        for each in (network, averaged):
            each.to("meta").to_empty(device="cpu")
            each.load_state_dict({n: torch.zeros_like(v) for n, v in each.state_dict().items()})
        averaged.n_averaged.fill_(80)
    averaged.module.running_mean.fill_(1.0)
    network.running_mean.fill_(2.0)
    averaged.update_parameters(network)
    assert averaged.module.running_mean.item() == pytest.approx(1.1)
    assert averaged.n_averaged.item() == 81
