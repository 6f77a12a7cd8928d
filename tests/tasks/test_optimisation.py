from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from lightning_colorize.tasks import WarmupCosine
from lightning_colorize.tasks.optimisation import build_optimizer, keep_encoder_rate, with_schedule


@pytest.fixture
def net():
    return nn.ModuleDict({"encoder": nn.Linear(2, 3), "decoder": nn.Linear(3, 1)})


def test_the_encoder_has_its_own_rate(net):
    optimizer = build_optimizer(partial(SGD, lr=0.5), net["encoder"], net, 0.1)
    by_parameter = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert len(by_parameter) == 4
    assert {by_parameter[id(p)] for p in net["encoder"].parameters()} == {0.05}
    assert {by_parameter[id(p)] for p in net["decoder"].parameters()} == {0.5}


def test_at_the_same_rate_there_is_one_group(net):
    optimizer = build_optimizer(partial(SGD, lr=0.5), net["encoder"], net)
    assert len(optimizer.param_groups) == 1
    assert len(optimizer.param_groups[0]["params"]) == 4


@pytest.mark.parametrize("ratio", [1.0, 0.1])
def test_what_is_frozen_gets_no_state(net, ratio):
    net["encoder"].requires_grad_(False)
    optimizer = build_optimizer(partial(Adam, lr=0.5), net["encoder"], net, ratio)
    before = [p.clone() for p in net["encoder"].parameters()]
    net["decoder"](net["encoder"](torch.ones(1, 2))).sum().backward()
    optimizer.step()
    assert set(optimizer.state) == set(net["decoder"].parameters())
    assert [g["lr"] for g in optimizer.param_groups] == [0.5]
    assert all(torch.equal(a, b) for a, b in zip(before, net["encoder"].parameters(), strict=True))


def test_schedules_step_when_they_want_to(net):
    optimizer = SGD(net.parameters(), lr=1.0)
    assert with_schedule(optimizer, None) is optimizer
    intervals = {}
    for factory in (WarmupCosine, partial(StepLR, step_size=3), ReduceLROnPlateau):
        configured = with_schedule(optimizer, factory)
        assert configured["optimizer"] is optimizer
        scheduler = configured["lr_scheduler"]
        intervals[type(scheduler["scheduler"])] = scheduler["interval"]
    assert intervals == {WarmupCosine: "step", StepLR: "epoch", ReduceLROnPlateau: "epoch"}


def test_the_encoder_steps_at_its_share_whatever_rate_is_set():
    encoder, rest = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = SGD([{"params": [encoder]}, {"params": [rest]}], lr=1.0)
    keep_encoder_rate(optimizer, 0.1)
    for rate in (0.5, 2.0):
        for group in optimizer.param_groups:
            group["lr"] = rate
        before = encoder.item(), rest.item()
        encoder.grad, rest.grad = torch.ones(1), torch.ones(1)
        optimizer.step()
        assert encoder.item() - before[0] == pytest.approx(-0.1 * rate)
        assert rest.item() - before[1] == pytest.approx(-rate)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate, rate])


def test_one_rate_for_all_is_left_alone():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = SGD([weight], lr=1.0)
    keep_encoder_rate(optimizer, 0.1)
    weight.grad = torch.ones(1)
    optimizer.step()
    assert weight.item() == -1.0
