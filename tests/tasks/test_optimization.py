from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from lightning_colorize.common.errors import UsageError
from lightning_colorize.losses import MSE
from lightning_colorize.networks import ConvEncoder
from lightning_colorize.tasks import RegressionTask, WarmupCosine
from lightning_colorize.tasks.optimization import build_optimizer, keep_encoder_rate, with_schedule
from tests.tasks.conftest import make_gan, make_trainer


@pytest.fixture
def net():
    return nn.ModuleDict({"encoder": nn.Linear(2, 3), "decoder": nn.Linear(3, 1)})


def test_the_encoder_has_its_own_rate(net):
    optimizer = build_optimizer(partial(SGD, lr=0.5), net["encoder"], net, 0.1)
    by_parameter = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert len(by_parameter) == 4
    assert {by_parameter[id(p)] for p in net["encoder"].parameters()} == {0.05}
    assert {by_parameter[id(p)] for p in net["decoder"].parameters()} == {0.5}


def test_equal_rates_make_one_parameter_group(net):
    optimizer = build_optimizer(partial(SGD, lr=0.5), net["encoder"], net)
    assert len(optimizer.param_groups) == 1
    assert len(optimizer.param_groups[0]["params"]) == 4


@pytest.mark.parametrize("ratio", [1.0, 0.1])
def test_frozen_parameters_have_no_optimizer_state(net, ratio):
    net["encoder"].requires_grad_(False)
    optimizer = build_optimizer(partial(Adam, lr=0.5), net["encoder"], net, ratio)
    before = [p.clone() for p in net["encoder"].parameters()]
    net["decoder"](net["encoder"](torch.ones(1, 2))).sum().backward()
    optimizer.step()
    assert set(optimizer.state) == set(net["decoder"].parameters())
    assert [g["lr"] for g in optimizer.param_groups] == [0.5]
    assert all(torch.equal(a, b) for a, b in zip(before, net["encoder"].parameters(), strict=True))


def test_interval_of_each_schedule(net):
    optimizer = SGD(net.parameters(), lr=1.0)
    assert with_schedule(optimizer, None) is optimizer
    intervals = {}
    for factory in (WarmupCosine, partial(StepLR, step_size=3), ReduceLROnPlateau):
        configured = with_schedule(optimizer, factory)
        assert configured["optimizer"] is optimizer
        scheduler = configured["lr_scheduler"]
        intervals[type(scheduler["scheduler"])] = scheduler["interval"]
    assert intervals == {WarmupCosine: "step", StepLR: "epoch", ReduceLROnPlateau: "epoch"}


@pytest.mark.filterwarnings("error:.*ReduceLROnPlateau")
@pytest.mark.parametrize("every", [1, 2])
def test_a_plateau_schedule_steps_once_per_validation(data, every):
    task = regression(scheduler=ReduceLROnPlateau)
    trainer = make_trainer(max_epochs=4, check_val_every_n_epoch=every)
    trainer.fit(task, data)
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 4 // every


def test_single_parameter_group_keeps_its_rate():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = SGD([weight], lr=1.0)
    keep_encoder_rate(optimizer, 0.1)
    weight.grad = torch.ones(1)
    optimizer.step()
    assert weight.item() == -1.0


def fitted(task, data, **options):
    trainer = make_trainer(max_steps=3, limit_val_batches=0, **options)
    trainer.fit(task, data)
    return task


def regression(**options):
    torch.manual_seed(0)
    options = {"optimizer": partial(torch.optim.Adam, lr=0.01), **options}
    return RegressionTask(ConvEncoder(widths=[4, 8]), MSE(), **options)


def test_a_fused_optimizer_takes_the_same_steps(data):
    usual, fused = fitted(regression(), data), fitted(regression(fused=True), data)
    assert all(group["fused"] for group in fused.optimizers().param_groups)
    assert not any(group["fused"] for group in usual.optimizers().param_groups)
    for name, value in usual.state_dict().items():
        torch.testing.assert_close(fused.state_dict()[name], value, atol=1e-6, rtol=1e-4)


def test_fused_optimizers_of_a_gan_keep_rates_and_clipping(data):
    options = {"gradient_clip_val": 1e-3, "encoder_lr_ratio": 0.5}
    usual, fused = (fitted(make_gan(fused=on, **options), data) for on in (False, True))
    for optimizer in fused.optimizers():
        assert all(group["fused"] for group in optimizer.param_groups)
    for name, value in usual.state_dict().items():
        torch.testing.assert_close(fused.state_dict()[name], value, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("algorithm", [None, "value"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trainer_clips_fused_optimizers(data, precision, algorithm):
    """Lightning alone refuses them under bf16-mixed."""
    options = {"precision": precision, "gradient_clip_val": 1e-4}
    options["gradient_clip_algorithm"] = algorithm
    sgd = {"optimizer": partial(torch.optim.SGD, lr=1.0)}
    start = regression(**sgd).state_dict()
    task = regression(fused=True, **sgd)
    make_trainer(max_steps=1, limit_val_batches=0, **options).fit(task, data)
    steps = [(value - start[name]) for name, value in task.named_parameters()]
    if algorithm == "value":
        assert max(step.abs().max().item() for step in steps) == pytest.approx(1e-4, rel=1e-2)
    else:
        norm = sum(step.double().square().sum() for step in steps).sqrt().item()
        assert norm == pytest.approx(1e-4, rel=1e-2)


def test_optimizer_without_fused_implementation_is_refused(data):
    task = regression(fused=True, optimizer=partial(torch.optim.RMSprop, lr=0.1))
    with pytest.raises(UsageError) as refused:
        fitted(task, data)
    option, accepted = str(refused.value).splitlines()
    assert option == "--model.fused: true"
    assert accepted.startswith("accepted: false: this optimizer cannot do it here (")
    assert "fused" in accepted


def test_clipping_scaled_gradients_of_fused_optimizers_is_refused():
    trainer = {"precision": "16-mixed", "gradient_clip_val": 1.0}
    with pytest.raises(UsageError, match="bf16-mixed"):
        regression(fused=True).check(trainer, 32)
    regression(fused=True).check(trainer | {"gradient_clip_val": None}, 32)
    regression().check(trainer, 32)
