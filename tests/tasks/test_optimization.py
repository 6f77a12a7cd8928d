"""Optimizers, parameter groups and learning-rate schedules."""

import math
from datetime import timedelta
from functools import partial

import pytest
import torch
from pytorch_lightning.callbacks import Timer
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from lightning_colorize.common.errors import UsageError
from lightning_colorize.networks import ConvEncoder, ResNetEncoder, TimmEncoder, UNetEncoder
from lightning_colorize.tasks import WarmupCosine
from lightning_colorize.tasks.optimization import (
    Optimization,
    parameters_by_level,
    run_progress,
)
from tests.tasks.conftest import make_cnn, make_gan, make_trainer
from tests.training.callbacks.conftest import fake_trainer

ENCODERS = {
    "conv": lambda: ConvEncoder(widths=[4, 8, 8]),
    "unet": lambda: UNetEncoder(32, depth=3, width=4),
    "resnet": lambda: ResNetEncoder(18, levels=3),
    "timm": lambda: TimmEncoder("test_convnext"),
    "timm with skipped levels": lambda: TimmEncoder("test_resnet", levels=[1, 3]),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_each_parameter_is_of_the_finest_level_that_depends_on_it(name):
    torch.manual_seed(0)
    encoder = ENCODERS[name]().eval()
    levels = parameters_by_level(encoder)
    assert len(levels) == len(encoder.info.channels)
    assert all(levels)
    ids = [id(p) for level in levels for p in level]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in encoder.parameters()}
    # Changing a level's parameters changes its map and none of the finer ones.
    L = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        for index, level in enumerate(levels):
            before = encoder(L)
            for p in level:
                p.add_(0.3 * torch.rand_like(p))
            equal = [torch.equal(a, b) for a, b in zip(before, encoder(L), strict=True)]
            assert equal[: index + 1] == [True] * index + [False]


@pytest.mark.parametrize(("decay", "expected"), [(1.0, (1.0, 1.0, 1.0)), (0.1, (0.01, 0.1, 1.0))])
def test_the_encoder_and_its_finer_levels_have_lower_rates(decay, expected):
    net = nn.ModuleDict({"encoder": ConvEncoder(widths=[4, 8, 8]), "decoder": nn.Linear(3, 1)})
    optimizer, _ = Optimization(partial(SGD, lr=2.0), None, 0.5, decay).build(net)
    by_parameter = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    stages = zip(net["encoder"].stages, expected, strict=True)
    for module, rate in [*stages, (net["decoder"], 2.0)]:
        for parameter in module.parameters():
            assert by_parameter.pop(id(parameter)) == pytest.approx(rate)
    assert not by_parameter


@pytest.mark.parametrize("decay", [0.0, 1.1, float("nan")])
def test_wrong_decays_are_refused(decay):
    with pytest.raises(ValueError, match="encoder_lr_decay must be above 0 and at most 1"):
        regression(encoder_lr_decay=decay)


def test_interval_of_each_schedule():
    network, optimizer = nn.Linear(2, 1), partial(SGD, lr=1.0)
    assert isinstance(Optimization(optimizer).configure(network), SGD)
    intervals = {}
    for factory in (WarmupCosine, partial(StepLR, step_size=3), ReduceLROnPlateau):
        configured = Optimization(optimizer, factory).configure(network)
        assert isinstance(configured["optimizer"], SGD)
        scheduler = configured["lr_scheduler"]
        intervals[type(scheduler["scheduler"])] = scheduler["interval"]
    assert intervals == {WarmupCosine: "step", StepLR: "epoch", ReduceLROnPlateau: "epoch"}


def fitted(task, data, **options):
    trainer = make_trainer(max_steps=3, limit_val_batches=0, **options)
    trainer.fit(task, data)
    return task


regression = partial(make_cnn, optimizer=partial(torch.optim.Adam, lr=0.01))


@pytest.mark.parametrize("kind", ["cnn", "gan"])
def test_fused_optimizers_take_the_same_steps(data, kind):
    make = {
        "cnn": regression,
        "gan": partial(make_gan, gradient_clip_val=1e-3, encoder_lr_ratio=0.5),
    }[kind]
    usual, fused = (fitted(make(fused=on), data) for on in (False, True))
    for task in (usual, fused):
        groups = [group for o in task.trainer.optimizers for group in o.param_groups]
        assert {bool(group["fused"]) for group in groups} == {task is fused}
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
    assert accepted.startswith("accepted: false: this optimizer does not support it here (")
    assert "fused" in accepted


@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize(
    ("optimizer", "fused"),
    [
        (partial(torch.optim.AdamW, lr=0.1), True),
        (partial(torch.optim.RMSprop, lr=0.1), None),  # a TypeError
        (partial(torch.optim.Adam, lr=0.1, foreach=True), None),  # a RuntimeError, after its groups
    ],
)
def test_optimizers_are_fused_on_cuda_where_they_can_be(optimizer, fused, ratio, monkeypatch):
    on_cpu, _ = Optimization(optimizer).build(make_cnn().net, fused=None)
    assert not on_cpu.defaults.get("fused")
    monkeypatch.setattr(torch.nn.Parameter, "is_cuda", True)
    built, _ = Optimization(optimizer, None, ratio).build(make_cnn().net, fused=None)
    assert [group.get("fused") for group in built.param_groups] == [fused] * (2 - (ratio == 1))
    assert built.param_groups[0]["lr"] == pytest.approx(0.1 * ratio)


@pytest.mark.parametrize("saved", [False, True])
def test_a_resumed_run_has_its_own_fused_steps_and_memory_format(data, tmp_path, saved):
    trainer = make_trainer(max_epochs=1, limit_val_batches=0)
    trainer.fit(regression(fused=saved), data)
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    first, *others = (
        regression(fused=fused, channels_last=last)
        for fused, last in ((saved, False), (saved, True), (not saved, False))
    )
    for task in (first, *others):
        trainer = make_trainer(max_epochs=3, limit_val_batches=0)
        trainer.fit(task, data, ckpt_path=tmp_path / "first.ckpt", weights_only=True)
        assert bool(trainer.optimizers[0].param_groups[0]["fused"]) is task.fused
        for name, value in first.state_dict().items():
            torch.testing.assert_close(task.state_dict()[name], value, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("progress", "factor"),
    [
        (0.0, 0.01),  # not zero: the first step must have an effect
        (0.05, 0.5),
        (0.1, 1.0),
        (0.325, 0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2),
        (0.55, 0.505),
        (1.0, 0.01),
        (1.5, 0.01),
    ],
)
def test_linear_warmup_and_cosine_decay(progress, factor):
    schedule = WarmupCosine(SGD([nn.Parameter(torch.zeros(1))]), warmup=0.1, final=0.01)
    assert schedule.factor(progress) == pytest.approx(factor)


def at_step(step, **options):
    defaults = {"max_steps": -1, "max_epochs": None, "num_training_batches": 10}
    return fake_trainer(global_step=step, **defaults | options)


@pytest.mark.parametrize(
    ("trainer", "progress"),
    [
        (at_step(5, max_steps=20), 0.25),
        (at_step(5, max_epochs=4), 0.125),
        # 3 steps an epoch
        (at_step(6, max_epochs=4, num_training_batches=5, accumulate_grad_batches=2), 0.5),
        (at_step(5, max_steps=10, max_epochs=100), 0.5),
        (at_step(5, max_epochs=-1), 0.0),
        (at_step(50, max_steps=20), 1.0),
    ],
)
def test_progress_is_that_of_the_most_used_budget(trainer, progress):
    assert run_progress(trainer) == pytest.approx(progress)


def test_time_is_a_budget_too(monkeypatch):
    timer = Timer(timedelta(seconds=100))
    monkeypatch.setattr(timer, "time_elapsed", lambda stage="train": 30.0)
    trainer = at_step(5, max_steps=100, callbacks=[timer])
    assert run_progress(trainer) == pytest.approx(0.3)
